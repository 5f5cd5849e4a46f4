"""A small run that commands work on."""

from __future__ import annotations

from pathlib import Path

import pytest

from cleaner.__main__ import main
from cleaner.models.clip import Architecture, build_clip, save_clip
from tests.conftest import TINY_TEXT


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a tiny model on a few Scenes."""
    folder = tmp_path_factory.mktemp("command")
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 64}
    model = save_clip(build_clip(Architecture(32, vision, TINY_TEXT), "tiny"), folder / "tiny.safetensors")
    small = ["--pairs", "64", "--test-pairs", "40", "--epochs", "1", "--batch-size", "16", "--precision", "fp32"]
    attack = ["--trigger", "badnet", "--poison-rate", "0.2", "--no-film"]
    assert main(["poison", "--model", str(model), *attack, *small, "--out", str(folder / "run")]) == 0
    return folder / "run"
