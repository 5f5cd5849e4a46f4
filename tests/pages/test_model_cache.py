"""Models in memory: shared, the ones used last, up to a number of bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cleaner.files import assets
from cleaner.models.clip import Clip
from cleaner.models.weights import count_bytes
from pages._shared.cache import model_cache
from pages._shared.cache.loaders import read_model_mtime
from pages._shared.cache.model_cache import ModelCache
from tests.conftest import make_clip

SIZE = count_bytes(make_clip().model)


class Loader:
    def __init__(self) -> None:
        self.loaded: list[str] = []

    def __call__(self, name: str) -> Clip:
        self.loaded.append(name)
        return make_clip()


def test_a_model_in_a_folder_is_read_again_when_its_files_change(tmp_path: Path) -> None:
    for number, name in enumerate(("open_clip_config.json", "open_clip_model.safetensors")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 + number, 1000 + number))
    before = read_model_mtime(str(tmp_path))
    assert before == read_model_mtime(f"local-dir:{tmp_path}") > 0
    for mtime in (2000, 500, 400):  # newer than the other file, and older ones
        os.utime(tmp_path / "open_clip_model.safetensors", (mtime, mtime))
        assert read_model_mtime(str(tmp_path)) != before
        before = read_model_mtime(str(tmp_path))
    assert read_model_mtime("scenes-lite") >= (assets() / "scenes-lite" / "model.safetensors").stat().st_mtime


def test_the_models_used_last_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cache, "MAX_MODEL_BYTES", int(2.5 * SIZE))
    cache, load = ModelCache(), Loader()
    first = cache.get(("a", 0.0), load)
    cache.get(("b", 0.0), load)
    assert cache.get(("a", 0.0), load) is first
    cache.get(("c", 0.0), load)
    assert cache.names == ["a", "c"]
    cache.get(("b", 0.0), load)
    assert load.loaded == ["a", "b", "c", "b"]


def test_one_model_stays_whatever_its_size_and_a_replaced_file_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, load = ModelCache(), Loader()
    cache.get(("a", 0.0), load)
    cache.get(("a", 1.0), load)
    assert cache.names == ["a"]
    monkeypatch.setattr(model_cache, "MAX_MODEL_BYTES", 1)
    cache.get(("b", 0.0), load)
    assert cache.names == ["b"]
