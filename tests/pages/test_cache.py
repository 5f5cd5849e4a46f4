"""What pages keep in memory: answers from files that have changed since are not given."""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st

from pages._shared import cache
from tests.data.files import make_caption, write_table
from tests.pages.conftest import OpenPage
from tests.pages.runs import make_runs


def test_a_table_that_was_edited_is_read_again(open_page: OpenPage, tmp_path: Path) -> None:
    path = write_table(tmp_path)
    name = f"csv:{path} classes=red,green,blue"
    first = cache.load_data(name, "all", 60)
    assert cache.load_data(name, "all", 60) is first
    path.write_text(path.read_text(encoding="utf-8").replace(make_caption(0), "a red door"), encoding="utf-8")
    os.utime(path, (1, 1))
    assert "a red door" in cache.load_data(name, "all", 60).captions
    assert make_caption(0) not in cache.load_data(name, "all", 60).captions


def test_answers_of_a_run_end_with_it(open_page: OpenPage, tmp_path: Path) -> None:
    folder, _ = make_runs(tmp_path)
    asked: list[Path] = []

    @st.cache_data(show_spinner=False)
    def answer(folder: Path) -> str:
        asked.append(folder)
        return str(cache.load_run(folder).clip.sha256())

    first = cache.load_run(folder)
    assert answer(folder) == answer(folder) == first.clip.sha256()
    assert len(asked) == 1
    os.utime(folder / "config.json", (1, 1))
    assert cache.load_run(folder) is not first
    answer(folder)
    assert len(asked) == 2
