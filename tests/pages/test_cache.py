"""The caches of the pages drop what was computed from files that have changed."""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st

from pages._shared import cache
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
