"""A tiny model in a file, for the tests of jobs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cleaner.models.clip import Architecture, build_clip, save_clip
from tests.conftest import TINY_TEXT


@pytest.fixture
def tiny_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the path of a tiny untrained model for 64 px images; runs are temporary."""
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    return save_tiny_model(tmp_path)


def save_tiny_model(folder: Path) -> str:
    """Save a tiny model, with the same random weights each time."""
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 64}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip = build_clip(Architecture(32, vision, TINY_TEXT), "tiny")
    return str(save_clip(clip, folder / "tiny.safetensors"))
