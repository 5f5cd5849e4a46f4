"""Fixtures of the job tests: a tiny model in a file, and one cache of Scenes images for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cleaner.models.clip import Architecture, _build_clip, save_clip
from tests.conftest import TINY_TEXT


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture
def tiny_model(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the path of a tiny untrained model for 64 px images; runs and cache are temporary."""
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CLEANER_CACHE", str(cache))
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 64}
    return str(save_clip(_build_clip(Architecture(32, vision, TINY_TEXT), "tiny"), tmp_path / "tiny.safetensors"))
