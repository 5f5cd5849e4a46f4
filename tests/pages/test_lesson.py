"""The guided lesson: a bar on every page that leads from page to page, survives a reload and ends with a verdict."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from cleaner import FinetuneConfig
from cleaner.labels import to_label
from cleaner.runs.request import Request
from cleaner.runs.status import Status, read_status, write_status
from cleaner.runs.store import create_run
from pages._shared.shell.lesson import STEPS, VERDICT, VERDICT_PAGE
from pages._shared.shell.menu import page_file, titles
from tests.pages.conftest import OpenPage, go_to, page_text, widget_keys
from tests.pages.runs import make_runs, move_to_example

MAX_LENGTH = 175
"""Characters per text: three lines of the bar at 1280 px."""


def current_title(app: AppTest) -> str:
    assert not app.exception, [e.message for e in app.exception]
    return str(app.title[0].value)


def press(app: AppTest, name: str) -> AppTest:
    return app.button(key=f"lesson.{name}").click().run()


def current_step(app: AppTest) -> int | None:
    """Return the index of the step that is drawn, or None."""
    text = page_text(app)
    steps = [i for i, step in enumerate(STEPS) if any(task and task in text for task in (step.task, step.early_task))]
    assert len(steps) < 2
    return steps[0] if steps else None


def open_lesson(open_page: OpenPage, title: str, step: int, run: str = "", jobs: str = "") -> AppTest:
    """Open a page by an address that has the lesson in it, as a reload does."""
    app = open_page("Overview")
    app.query_params.clear()
    app.session_state["address.is_read"] = False
    for name, value in (("lesson", str(step + 1)), ("run", run), ("jobs", jobs)):
        if value:
            app.query_params[name] = value
    app.run()
    return go_to(app, title)


def make_active(stage: str, parent: str | None = None) -> Path:
    """Write a run that is training."""
    request = Request(
        stage,
        "scenes",
        64,
        FinetuneConfig(),
        None if parent else "scenes-rn",
        trigger=None if parent else {"name": "badnet"},
        defense={"name": "ta_cleaner"} if parent else None,
        parent=parent,
    )
    folder = create_run(request)
    write_status(folder, Status("running", stage="defend" if parent else "poison", step=1, total=9, pid=os.getpid()))
    return folder


def test_six_steps_visit_six_pages_and_end_at_the_comparison() -> None:
    assert len(STEPS) == 6
    pages = [step.page for step in STEPS]
    assert len(set(pages)) == 6
    assert {*pages, VERDICT_PAGE} <= set(titles())
    assert (pages[0], pages[-1]) == ("Poison", "Compare")
    assert all(page_file(step.page) for step in STEPS)
    for step in STEPS:
        assert step.question.endswith("?")
        texts = (step.task, step.observation, step.early_task, step.early_observation)
        assert max(map(len, texts)) < MAX_LENGTH, step.title


def test_it_starts_on_request_and_walks_to_the_verdict(open_page: OpenPage, tmp_path: Path) -> None:
    make_runs(tmp_path)
    app = open_page("Overview")
    assert current_step(app) is None
    press(app, "start")
    for number, step in enumerate(STEPS):
        assert current_title(app) == step.page
        assert current_step(app) == number
        assert f"step {number + 1} of 7" in page_text(app)
        assert step.question in page_text(app)
        (answer,) = [e for e in app.expander if e.label == "Answer"]
        assert not answer.proto.expanded
        assert step.answer in answer.markdown[0].value
        assert app.button(key="lesson.back").disabled == (number == 0)
        go_to(app, step.page)  # AppTest does not keep the page that the last rerun switched to
        press(app, "next")
    assert current_title(app) == VERDICT_PAGE
    assert f"**{to_label('ta_cleaner')}** left 10.0%" in page_text(app)
    go_to(app, VERDICT_PAGE)
    press(app, "next")
    assert current_title(app) == VERDICT_PAGE
    assert "lesson.next" not in widget_keys(app)


def test_it_stays_on_other_pages_and_links_back(open_page: OpenPage) -> None:
    app = press(open_page("Overview"), "start")
    press(app, "next")
    go_to(app, "Subtexts")
    assert current_step(app) == 1
    (link,) = [link.proto for link in app.get("page_link") if link.proto.label == "Go to Defend"]
    assert "lesson=" in link.query_string, "also in a new tab"
    press(app, "back")
    assert current_title(app) == "Poison"
    assert current_step(app) == 0
    go_to(app, "Overview")
    assert app.button(key="lesson.start").label.endswith("step 1")
    press(app, "close")
    assert current_title(app) == "Overview"
    assert current_step(app) is None


def test_steps_say_what_can_be_done_before_a_defense_is_there(open_page: OpenPage, tmp_path: Path) -> None:
    _, defended = make_runs(tmp_path)
    number = next(i for i, step in enumerate(STEPS) if step.page == "Embeddings")
    text = page_text(open_lesson(open_page, "Embeddings", number))
    assert STEPS[number].task in text
    for path in defended.iterdir():
        path.unlink()
    text = page_text(open_lesson(open_page, "Embeddings", number))
    assert STEPS[number].early_task in text
    assert STEPS[number].task not in text


def test_an_address_brings_back_lesson_model_and_trainings(open_page: OpenPage, tmp_path: Path) -> None:
    first, _ = make_runs(tmp_path)
    make_runs(tmp_path, seed=1)
    job = make_active("defended", first.name)
    app = open_lesson(open_page, "Subtexts", 4, first.name, job.name)
    assert current_step(app) == 4
    assert app.selectbox(key="current_run").value == first.name
    assert "TA-Cleaner: finetuning, " in page_text(app)
    assert dict(app.query_params) == {"run": first.name, "lesson": "5", "jobs": job.name}
    write_status(job, replace(read_status(job), stage="render"))
    app.run()
    assert "TA-Cleaner: rendering images, " in page_text(app)
    write_status(job, Status("cancelled"))
    app.run()
    assert "jobs" not in app.query_params


def test_an_address_brings_back_why_a_training_failed(open_page: OpenPage, tmp_path: Path) -> None:
    first, _ = make_runs(tmp_path)
    job = make_active("defended", first.name)
    write_status(job, Status("failed", message="the disk is full."))
    app = open_lesson(open_page, "Defend", 2, first.name, job.name)
    assert "The disk is full." in page_text(app)
    assert dict(app.query_params)["jobs"] == job.name


@pytest.mark.parametrize("text", ["0", "9", "x", "11", "²"])
def test_an_invalid_address_starts_no_lesson(open_page: OpenPage, text: str) -> None:
    app = open_page("Overview")
    app.session_state["address.is_read"] = False
    app.query_params.update({"lesson": text, "run": "../..", "jobs": "..,none"})
    app.run()
    assert not app.exception
    assert app.button(key="lesson.start").label == "Start lesson"


def test_it_leads_back_to_a_new_result(open_page: OpenPage, tmp_path: Path) -> None:
    backdoored, defended = make_runs(tmp_path)
    other, _ = make_runs(tmp_path, seed=1)
    app = open_lesson(open_page, "Subtexts", 4, other.name)
    assert "lesson.result" not in widget_keys(app)
    app.session_state["jobs.started"] = {"defend": [defended.name]}
    app.run()
    press(app, "result")
    assert current_title(app) == "Defend"
    assert app.selectbox(key="current_run").value == backdoored.name
    assert app.button(key="lesson.next").label == "Step 5"
    go_to(app, "Defend")
    press(app, "next")
    assert current_title(app) == "Subtexts"
    assert "lesson.result" not in widget_keys(app)  # it has been looked at


def test_a_result_waits_for_the_student_s_own_trainings_only(open_page: OpenPage, tmp_path: Path) -> None:
    backdoored, defended = make_runs(tmp_path)
    own, other = make_active("defended", backdoored.name), make_active("defended", backdoored.name)
    app = open_lesson(open_page, "Subtexts", 4, backdoored.name)
    app.session_state["jobs.started"] = {"defend": [defended.name, own.name]}
    app.run()
    assert "lesson.result" not in widget_keys(app)
    for folder, queued in ((own, 2.0), (other, 1.0)):
        write_status(folder, Status("queued", device="cpu", queued=queued, pid=os.getpid()))
    app.run()
    assert "TA-Cleaner: queued, 1 run ahead" in page_text(app)
    write_status(own, Status("failed"))
    app.run()
    assert "lesson.result" in widget_keys(app)


def test_it_looks_at_the_student_s_own_model(open_page: OpenPage, tmp_path: Path) -> None:
    example, _ = make_runs(tmp_path)
    move_to_example(tmp_path)
    app = press(open_page("Overview"), "start")
    assert app.selectbox(key="current_run").value == example.name
    own, _ = make_runs(tmp_path, seed=1)
    app.session_state["jobs.started"] = {"poison": [own.name]}
    go_to(app, "Embeddings")  # its training ends while the student is on another page
    assert app.selectbox(key="current_run").value == own.name
    app.selectbox(key="current_run").set_value(example.name).run()
    go_to(app, "Poison")
    press(app, "next")
    assert app.selectbox(key="current_run").value == own.name


def test_it_puts_no_model_of_another_student_in_view(open_page: OpenPage, tmp_path: Path) -> None:
    example, _ = make_runs(tmp_path)
    move_to_example(tmp_path)
    own, _ = make_runs(tmp_path, seed=1)
    make_runs(tmp_path, seed=2)  # newer, of another student
    queued = make_active("backdoored")
    app = press(open_page("Overview"), "start")
    app.selectbox(key="current_run").set_value(example.name).run()
    for started, seen, expected in (([queued.name], [], example), ([queued.name], [own.name], own)):
        app.session_state["jobs.started"], app.session_state["jobs.seen"] = {"poison": started}, set(seen)
        go_to(app, "Poison")
        press(app, "next")
        assert app.selectbox(key="current_run").value == expected.name
        press(app, "back")


def test_the_verdict_waits_for_defenses_that_train(open_page: OpenPage, tmp_path: Path) -> None:
    backdoored, defended = make_runs(tmp_path)
    for path in defended.iterdir():
        path.unlink()
    job = make_active("defended", backdoored.name)
    app = open_lesson(open_page, VERDICT_PAGE, VERDICT, backdoored.name)
    assert "go back to step 2" in page_text(app)
    app.session_state["jobs.started"] = {"defend": [job.name]}
    app.run()
    assert "go back to step 2" not in page_text(app)
    assert "Meanwhile: true and false texts on Exercises" in page_text(app)


@pytest.mark.parametrize(("predicted", "mark"), [("5 to 50%", "✓"), ("below 5%", "✗")])
def test_the_verdict_compares_predictions_with_the_outcome(
    open_page: OpenPage, tmp_path: Path, predicted: str, mark: str
) -> None:
    backdoored, _ = make_runs(tmp_path)  # its defense leaves 10%
    app = open_lesson(open_page, "Defend", 1, backdoored.name)
    app.radio(key="lesson.predicted.Defend").set_value(predicted).run()
    go_to(app, VERDICT_PAGE)
    app.session_state["lesson.step"] = VERDICT
    app.run()
    assert f"{mark} Attack success left by your best defense: predicted {predicted}, is **10.0%**" in page_text(app)
    assert "Clean accuracy after poisoning:" not in page_text(app)
