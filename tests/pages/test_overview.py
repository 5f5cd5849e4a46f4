"""Overview: opens at once, invents nothing, shows the example's own figures where there are any."""

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from cleaner.files import write_json
from cleaner.types import CleanerError
from tests.pages.conftest import ROOT, OpenPage, go_to, page_text


def test_empty_state(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page("Overview")
    if not (ROOT / "benchmarks" / "results" / "demo.json").exists():
        assert "No numbers yet" in page_text(app)
        assert not app.get("plotly_chart")


def test_unknown_run_files_do_no_harm(open_page: OpenPage, tmp_path: Path) -> None:
    for name, content in (("a", "{}"), ("b", "not json"), ("c", json.dumps({"stage": "backdoored"}))):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text(content)
    app: AppTest = open_page("Overview")
    assert not app.exception


def test_the_shelf_names_tags_and_deletes_runs(open_page: OpenPage, tmp_path: Path) -> None:
    app = open_page("Overview")
    for name in ("first", "second"):
        write_json(tmp_path / "runs" / name / "config.json", {"stage": "backdoored", "trigger": {"name": "badnet"}})
    app.session_state["shelf"] = True
    app.run()
    rows = app.dataframe[0].value["Run"].tolist()
    assert sorted(rows) == ["first", "second"]
    app.session_state["shelf.table"] = {"selection": {"rows": [rows.index("first")], "columns": [], "cells": []}}
    app.run()
    app.text_input(key="shelf.first.name").set_value("Monday")
    app.text_input(key="shelf.first.tags").set_value("odd, lecture")
    next(b for b in app.button if b.label.startswith("Keep name")).click().run()
    assert not app.exception
    table = app.dataframe[0].value.set_index("Run")
    assert (table.loc["first", "Name"], table.loc["first", "Tags"]) == ("Monday", "lecture, odd")
    assert any("Monday" in option for option in app.selectbox(key="current_run").options)
    app.button(key="shelf.first.delete").click().run()
    assert not app.exception
    assert app.dataframe[0].value["Run"].tolist() == ["second"]


@pytest.mark.parametrize("broken", [False, True])
def test_a_button_of_a_page_that_was_left_too_soon_is_obeyed_once(open_page: OpenPage, broken: bool) -> None:
    app = open_page("Overview")
    started = []

    def start() -> None:
        started.append(1)
        if broken:
            raise CleanerError("the disk is full.")

    app.session_state["job.asked"] = ("poison", start)
    app.run()
    app.run()
    assert started == [1]
    assert not app.exception
    assert ("The disk is full\\." in [e.value for e in go_to(app, "Poison").error]) == broken
