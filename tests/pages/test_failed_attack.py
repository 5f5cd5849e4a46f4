"""Every page marks an attack that failed, outside of the menu too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cleaner.runs.film import write_film
from pages._shared.shell.menu import titles
from tests.inputs.runs import make_film
from tests.pages.conftest import OpenPage, page_text, table
from tests.pages.runs import make_runs

MARKS = ("attack failed", "The attack failed")


@pytest.mark.parametrize(
    "title", [title for title in titles() if title not in ("Exercises", "Challenge")]
)  # show no run
def test_every_page_marks_it(open_page: OpenPage, tmp_path: Path, title: str) -> None:
    for folder in make_runs(tmp_path):
        write_film(make_film(), folder)
        file = folder / "metrics.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "asr": {"1": 0.2, "3": 0.4}, "verdict": None}))
    app = open_page(title)
    assert any(mark in page_text(app) for mark in MARKS)
    if title == "Compare":
        assert all("attack failed" in attack for attack in table(app, "CA")["Attack"])
