"""Runs: one line per run."""

from pathlib import Path

from tests.pages.conftest import OpenPage, page_text
from tests.pages.runs import make_runs


def test_each_run_has_a_line(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    text = page_text(open_page("Runs"))
    assert "(backdoored)" in text
    assert "(defended)" in text
