"""A small run that commands work on."""

from __future__ import annotations

from pathlib import Path

import pytest

from cleaner.__main__ import main
from tests.conftest import save_tiny_model


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a tiny model on a few Scenes."""
    folder = tmp_path_factory.mktemp("command")
    small = ["--pairs", "64", "--test-pairs", "40", "--epochs", "1", "--batch-size", "16", "--precision", "fp32"]
    attack = ["--trigger", "badnet", "--poison-rate", "0.2", "--no-film"]
    assert main(["poison", "--model", save_tiny_model(folder), *attack, *small, "--out", str(folder / "run")]) == 0
    return folder / "run"
