"""The caches of the pages drop what was computed from files that have changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import streamlit as st

from cleaner.types import StepReport
from pages._shared import cache
from pages._shared.cache import background
from pages._shared.sample import DataKey
from tests.data.files import make_caption, write_table
from tests.pages.conftest import OpenPage
from tests.pages.runs import make_runs


def test_an_edited_table_is_read_again(open_page: OpenPage, tmp_path: Path) -> None:
    path = write_table(tmp_path)
    key = DataKey(f"csv:{path} classes=red,green,blue", "all", 60)
    first = cache.load_data(key)
    assert cache.load_data(key) is first
    path.write_text(path.read_text(encoding="utf-8").replace(make_caption(0), "a red door"), encoding="utf-8")
    os.utime(path, (1, 1))
    assert "a red door" in cache.load_data(key).captions
    assert make_caption(0) not in cache.load_data(key).captions


def test_a_replaced_run_clears_what_was_computed_from_it(open_page: OpenPage, tmp_path: Path) -> None:
    folder, _ = make_runs(tmp_path)
    calls: list[Path] = []

    @st.cache_data(show_spinner=False)
    def hash_weights(folder: Path) -> str:
        calls.append(folder)
        return str(cache.load_run(folder).clip.sha256())

    first = cache.load_run(folder)
    assert hash_weights(folder) == hash_weights(folder) == first.clip.sha256()
    assert len(calls) == 1
    os.utime(folder / "config.json", (1, 1))
    assert cache.load_run(folder) is not first
    hash_weights(folder)
    assert len(calls) == 2


def test_runs_share_their_clean_model(open_page: OpenPage, tmp_path: Path) -> None:
    backdoored, defended = map(cache.load_run, make_runs(tmp_path))
    assert backdoored.clean_clip is defended.clean_clip is not None
    assert backdoored.clip is not defended.clip


def test_cached_work_stops_when_the_page_run_is_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit raises when a page run touches the session after a click; drawing in another thread hears nothing."""

    class Stopped(BaseException):
        pass

    class Session(dict[str, object]):
        def __contains__(self, key: object) -> bool:
            raise Stopped

    drawn: list[StepReport] = []
    on_step = background.wrap_in_thread(drawn.append)
    assert on_step is not None
    report = StepReport("prompts", 1, 2, 0.1)
    on_step(report)
    monkeypatch.setattr(background.st, "session_state", Session())
    with pytest.raises(Stopped):
        on_step(report)
    assert drawn == [report, report]
