"""Models in memory: shared, the ones used last, up to a number of bytes."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cleaner.files import assets
from cleaner.models.clip import Clip
from cleaner.models.weights import count_bytes
from cleaner.types import CleanerError
from pages._shared.cache import model_cache
from pages._shared.cache.loaders import read_model_mtime
from pages._shared.cache.model_cache import ModelCache
from tests.conftest import make_clip
from tests.waiting import wait_until

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


class SlowLoader(Loader):
    """Loads once it may, and fails the first time if told so."""

    def __init__(self, has_failure: bool = False) -> None:
        super().__init__()
        self.may_load, self.has_failure = threading.Event(), has_failure

    def __call__(self, name: str) -> Clip:
        clip = super().__call__(name)
        assert self.may_load.wait(60)
        if self.has_failure and len(self.loaded) == 1:
            raise CleanerError("the file is broken.")
        return clip


def test_a_model_that_is_being_loaded_holds_up_no_other() -> None:
    cache, slow, load = ModelCache(), SlowLoader(), Loader()
    first = cache.get(("a", 0.0), load)
    with ThreadPoolExecutor() as sessions:
        waiting = [sessions.submit(cache.get, ("b", 0.0), slow) for _ in range(2)]
        wait_until(lambda: slow.loaded)
        others = [sessions.submit(cache.get, (name, 0.0), load) for name in "ac"]
        try:
            assert others[0].result(timeout=30) is first
            assert others[1].result(timeout=30) is not first
        finally:
            slow.may_load.set()
        assert waiting[0].result() is waiting[1].result()
    assert (slow.loaded, load.loaded) == (["b"], ["a", "c"])


def test_after_a_failure_the_next_session_tries_for_itself() -> None:
    cache, load = ModelCache(), SlowLoader(has_failure=True)
    with ThreadPoolExecutor() as sessions:
        waiting = [sessions.submit(cache.get, ("a", 0.0), load) for _ in range(2)]
        wait_until(lambda: load.loaded)
        load.may_load.set()
    assert sorted(type(each.exception()) is CleanerError for each in waiting) == [False, True]
    assert load.loaded == ["a", "a"]
