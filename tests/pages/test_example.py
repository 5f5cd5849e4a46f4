"""Before anything is trained every page shows the shipped example, and says so; it cannot be changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cleaner.files import write_json
from cleaner.runs.store import list_runs
from pages._shared.frame import titles
from tests.pages.conftest import OpenPage, go_to, page_text, wait_for_training
from tests.pages.runs import make_runs


@pytest.fixture
def example(tmp_path: Path) -> list[Path]:
    """Tiny runs in the place of the shipped ones; the later one defends the first."""
    folders = make_runs(tmp_path)
    (tmp_path / "assets").mkdir(exist_ok=True)
    os.replace(tmp_path / "runs", tmp_path / "assets" / "example")
    return [tmp_path / "assets" / "example" / folder.name for folder in folders]


@pytest.mark.parametrize("title", titles())
def test_each_page_shows_it_and_says_so(title: str, example: list[Path], open_page: OpenPage) -> None:
    app = open_page(title)
    assert not app.exception
    assert not app.error
    assert app.selectbox(key="current_run").value == example[0].name
    said = [str(heading.value) for heading in [*app.subheader, *app.markdown]]
    assert any(text.endswith("shipped example") for text in said)


def test_own_runs_come_first(example: list[Path], open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path, seed=1)
    app = open_page("Defend")
    box = app.selectbox(key="current_run")
    assert box.value == "badnet-rn-1"
    assert [option.endswith("shipped example") for option in box.options] == [
        False,
        True,
        False,
    ]  # then the built-in model
    assert "shipped example" not in page_text(app)
    box.set_value(example[0].name).run()
    assert "Is the backdoor gone, and what did it cost? · shipped example" in page_text(app)


def test_it_can_be_defended_but_not_changed(example: list[Path], open_page: OpenPage, tmp_path: Path) -> None:
    app = open_page("Overview")
    app.session_state["shelf"] = True
    app.run()
    rows = app.dataframe[0].value["Run"].tolist()
    assert sorted(rows) == sorted(folder.name for folder in example)
    app.session_state["shelf.table"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    app.run()
    assert "but not renamed or deleted" in page_text(app)
    assert not [button for button in app.button if "Delete" in button.label]

    go_to(app, "Defend")
    app.multiselect(key="defend.which").set_value(["finetune"])
    app.select_slider(key="defend.pairs").set_value(200)
    app.number_input(key="defend.train.epochs").set_value(1)
    app.run()
    plan = app.dataframe[0].value
    assert plan["Judged by"].tolist() == ["a machine of two cores"]  # not what the example's own machine took
    assert float(plan["Minutes"][0]) < 0.2
    app.button(key="defend.go").click().run()
    wait_for_training(app)
    (run,) = list_runs()
    assert (run.stage, run.parent) == ("defended", example[0].name)
    assert run.folder.parent == tmp_path / "runs"
    assert "shipped example" in page_text(app)


def test_a_damaged_one_ends_in_a_sentence(example: list[Path], open_page: OpenPage) -> None:
    for folder in example:
        (folder / "model.safetensors").write_bytes(b"nothing")
    write_json(example[0] / "picture.json", {})
    assert not open_page("Overview").error
    assert "cannot be read as a model" in open_page("Attention").error[0].value
