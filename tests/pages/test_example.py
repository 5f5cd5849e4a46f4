"""Before any training, every page shows the shipped example and marks it; it cannot be edited."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path

import pytest

from cleaner.runs.store import list_runs
from pages._shared.shell import lesson, state
from pages._shared.shell.menu import MENU, titles
from tests.pages.conftest import (
    OpenPage,
    errors,
    go_to,
    page_text,
    press,
    select_run_row,
    table,
    wait_for_training,
    widget_keys,
)
from tests.pages.runs import make_runs, move_to_example

MARK = "shipped example"


@pytest.fixture
def example(tmp_path: Path) -> list[Path]:
    """Tiny runs in place of the shipped ones: a backdoored one and its defense."""
    folders = make_runs(tmp_path)
    root = move_to_example(tmp_path)
    return [root / folder.name for folder in folders]


def test_each_page_shows_and_marks_it(example: list[Path], open_page: OpenPage) -> None:
    app = open_page(titles()[0])
    for title in (*chain(*MENU.values()), "Detect", "Trigger search"):
        go_to(app, title)
        assert not app.error, title
        assert app.selectbox(key="current_run").value == example[0].name
        headings = [str(heading.value) for heading in [*app.header, *app.markdown]]
        assert sum(text.endswith(MARK) for text in headings) == 1, title


def test_what_is_said_of_it_is_not_said_of_own_defenses(
    example: list[Path], open_page: OpenPage, tmp_path: Path
) -> None:
    app = open_page("Film")
    app.session_state["lesson.step"] = lesson.VERDICT

    def is_said(title: str, sentence: str) -> bool:
        return sentence in page_text(go_to(app, title))

    sentences = {"Overview": state.RATES_NOTE, "Defend": state.RATES_NOTE, "Film": "This is the shipped example."}
    assert all(is_said(*item) for item in sentences.items())
    (tmp_path / "runs").mkdir()
    os.replace(example[1], tmp_path / "runs" / example[1].name)
    assert not any(is_said(*item) for item in sentences.items())
    assert "TA-Cleaner" in page_text(app)


def test_own_runs_come_first(example: list[Path], open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path, seed=1)
    app = open_page("Defend")
    box = app.selectbox(key="current_run")
    assert box.value == "badnet-rn-1"
    # The own run, the example, the built-in model.
    assert [option.startswith("Example: ") for option in box.options] == [False, True, False]
    assert MARK not in page_text(app)
    box.set_value(example[0].name).run()
    assert any(str(heading.value).endswith(MARK) for heading in app.markdown)


def test_it_can_be_defended_but_not_edited(example: list[Path], open_page: OpenPage, tmp_path: Path) -> None:
    app = open_page("Overview")
    app.session_state["run_table"] = True
    app.run()
    assert sorted(table(app, "Run")["Run"]) == sorted(folder.name for folder in example)
    select_run_row(app, example[0].name)
    assert "cannot be edited" in page_text(app)
    assert not [key for key in widget_keys(app) if key.startswith("run_table.")]

    go_to(app, "Defend")
    app.multiselect(key="defend.which").set_value(["finetune"])
    app.select_slider(key="defend.pairs").set_value(200)
    app.number_input(key="defend.train.epochs").set_value(1)
    app.run()
    plan = table(app, "Steps")
    assert plan["Duration"].tolist() == ["unknown"]  # not the time of the machine that trained the example
    press(app, "defend.go")
    wait_for_training(app)
    (run,) = list_runs()
    assert (run.stage, run.parent) == ("defended", example[0].name)
    assert run.folder.parent == tmp_path / "runs"
    assert MARK in page_text(app)


def test_a_damaged_example_ends_in_one_message(example: list[Path], open_page: OpenPage) -> None:
    for folder in example:
        (folder / "model.safetensors").write_bytes(b"nothing")
    assert not open_page("Overview").error
    (error,) = errors(open_page("Attention"))
    assert "model.safetensors" in error
