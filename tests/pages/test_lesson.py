"""The guided lesson: shown on every page, leads from page to page, hides its answers, can be closed at any time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from cleaner import FinetuneConfig
from cleaner.runs.request import Request
from cleaner.runs.status import Status, write_status
from cleaner.runs.store import create_run
from pages._shared.frame import page_file, titles
from pages._shared.lesson import STEPS
from tests.pages.conftest import OpenPage, go_to, link_labels, page_text, widget_keys
from tests.pages.runs import make_runs

MAX_LENGTH = 260
"""Characters per text: the box has to stay small."""


def current_title(app: AppTest) -> str:
    assert not app.exception, [e.message for e in app.exception]
    return str(app.title[0].value)


def press(app: AppTest, name: str) -> AppTest:
    return app.button(key=f"lesson.{name}").click().run()


def current_step(app: AppTest) -> int | None:
    """Return the index of the step that is drawn, or None."""
    text = page_text(app)
    steps = [i for i, step in enumerate(STEPS) if step.task in text]
    assert len(steps) < 2
    return steps[0] if steps else None


def test_six_steps_visit_six_pages_and_end_at_the_comparison() -> None:
    assert len(STEPS) == 6
    pages = [step.page for step in STEPS]
    assert len(set(pages)) == 6
    assert set(pages) <= set(titles())
    assert (pages[0], pages[-1]) == ("Poison", "Compare")
    assert all(page_file(step.page) for step in STEPS)
    for step in STEPS:
        assert step.question.endswith("?")
        assert max(len(step.task), len(step.observation)) < MAX_LENGTH


def test_it_starts_on_request_and_walks_to_the_end(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = open_page("Overview")
    assert current_step(app) is None
    press(app, "start")
    for number, step in enumerate(STEPS):
        assert current_title(app) == step.page
        assert current_step(app) == number
        assert f"{number + 1} of 6: {step.title}" in page_text(app)
        (question,) = [e for e in app.expander if step.question in e.label]
        assert not question.proto.expanded
        assert step.answer in question.markdown[0].value
        assert app.button(key="lesson.back").disabled == (number == 0)
        go_to(app, step.page)  # AppTest does not keep the page that the last rerun switched to
        press(app, "next")
    assert current_title(app) == STEPS[-1].page
    assert current_step(app) is None


def test_it_stays_on_other_pages_and_links_back(open_page: OpenPage) -> None:
    app = press(open_page("Overview"), "start")
    press(app, "next")
    go_to(app, "Subtexts")
    assert current_step(app) == 1
    assert "Go to Defend" in link_labels(app)
    press(app, "back")
    assert current_title(app) == "Poison"
    assert current_step(app) == 0
    go_to(app, "Overview")
    assert app.button(key="lesson.start").label.endswith("step 1")
    press(app, "close")
    assert current_title(app) == "Overview"
    assert current_step(app) is None


@pytest.mark.parametrize("has_own_run", [False, True])
def test_during_training_it_offers_the_shipped_example(has_own_run: bool, open_page: OpenPage, tmp_path: Path) -> None:
    example, _ = make_runs(tmp_path)
    (tmp_path / "assets").mkdir(exist_ok=True)
    os.replace(tmp_path / "runs", tmp_path / "assets" / "example")
    if has_own_run:
        make_runs(tmp_path, seed=1)
    app = press(open_page("Overview"), "start")
    assert ":material/hourglass_top:" not in page_text(app)
    request = Request("backdoored", "scenes", 64, FinetuneConfig(), "scenes-rn", trigger={"name": "badnet"})
    folder = create_run(request)
    write_status(folder, Status("running", stage="poison", step=1, total=9, pid=os.getpid()))
    go_to(app, "Subtexts")
    assert ("lesson.example" in widget_keys(app)) == has_own_run
    if has_own_run:
        assert app.selectbox(key="current_run").value == "badnet-rn-1"
        press(app, "example")
    (note,) = [str(c.value) for c in app.caption if ":material/hourglass_top:" in c.value]
    assert "shipped example" in note
    assert app.selectbox(key="current_run").value == example.name
