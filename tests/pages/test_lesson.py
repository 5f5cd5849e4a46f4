"""The guided lesson: it follows the reader, leads to each page, folds its answers, and can be left at any time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from cleaner import FinetuneConfig
from cleaner.runs.request import Request
from cleaner.runs.store import Status, create_run, write_status
from pages._shared.frame import page_file, titles
from pages._shared.lesson import STEPS
from tests.pages.conftest import OpenPage, go_to, page_text
from tests.pages.runs import make_runs


def here(app: AppTest) -> str:
    assert not app.exception, [e.message for e in app.exception]
    return str(app.title[0].value)


def press(app: AppTest, name: str) -> AppTest:
    return app.button(key=f"lesson.{name}").click().run()


def shown(app: AppTest) -> list[str]:
    """Return the line that names the step, if there is one."""
    return [m.value for m in app.markdown if "Lesson, step" in m.value]


def test_six_steps_lead_over_the_pages_in_their_order() -> None:
    assert len(STEPS) == 6
    places = [titles().index(step.page) for step in STEPS]
    assert places == sorted(places)
    assert len(set(places)) == 6
    assert all(page_file(step.page) for step in STEPS)
    for step in STEPS:
        assert step.question.endswith("?")
        assert max(len(step.task), len(step.observation)) < 260  # the box stays slim


def test_it_is_not_there_until_it_is_started_and_walks_to_the_end(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = open_page("Overview")
    assert not shown(app)
    press(app, "start")
    for number, step in enumerate(STEPS):
        assert here(app) == step.page
        assert shown(app) == [f":material/school: **Lesson, step {number + 1} of 6: {step.title}**"]
        assert step.task in page_text(app)
        (question,) = [e for e in app.expander if e.label == f"**Question.** {step.question}"]
        assert not question.proto.expanded
        assert question.markdown[0].value == f"**Answer.** {step.answer}"
        assert app.button(key="lesson.back").disabled == (number == 0)
        go_to(app, step.page)  # AppTest does not keep the page to which the last rerun switched
        press(app, "next")
    assert here(app) == STEPS[-1].page
    assert not shown(app)


def test_it_stays_on_other_pages_and_shows_the_way_back(open_page: OpenPage) -> None:
    app = press(open_page("Overview"), "start")
    press(app, "next")
    go_to(app, "Subtexts")
    assert "step 2 of 6" in shown(app)[0]
    links = [link.proto.label for link in app.get("page_link")]
    assert "Go to Defend" in links
    press(app, "back")
    assert here(app) == "Poison"
    assert "step 1 of 6" in shown(app)[0]
    go_to(app, "Overview")
    assert app.button(key="lesson.start").label == "Go on with the lesson: step 1"
    press(app, "close")
    assert here(app) == "Overview"
    assert not shown(app)


@pytest.mark.parametrize("own", [False, True])
def test_while_something_trains_the_shipped_example_is_there(own: bool, open_page: OpenPage, tmp_path: Path) -> None:
    example, _ = make_runs(tmp_path)
    (tmp_path / "assets").mkdir(exist_ok=True)
    os.replace(tmp_path / "runs", tmp_path / "assets" / "example")
    if own:
        make_runs(tmp_path, seed=1)
    app = press(open_page("Overview"), "start")
    assert "goes on in the background" not in page_text(app)
    request = Request("backdoored", "scenes", 64, FinetuneConfig(), "scenes-rn", trigger={"name": "badnet"})
    folder = create_run(request)
    write_status(folder, Status("running", stage="poison", step=1, total=9, pid=os.getpid()))
    go_to(app, "Subtexts")
    assert "goes on in the background" in page_text(app)
    if own:
        assert app.selectbox(key="current_run").value == "badnet-rn-1"
        press(app, "example")
    assert "shipped example" in page_text(app).partition("Meanwhile the pages show: ")[2].splitlines()[0]
    assert app.selectbox(key="current_run").value == example.name
