"""The Exercises page: sign in, commit, see hints, hand in; the key is reachable from nothing that a student has."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cleaner.exercises import course, student
from tests.pages.conftest import OpenPage, errors, link_labels, page_text

Key = dict[str, Any]


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene_cache: Path) -> Key:
    """The key of a course that the app serves; the teacher's folder is not on the server. Before `open_page`: it needs
    the built-in models."""
    monkeypatch.setenv("CLEANER_CACHE", str(scene_cache))
    monkeypatch.setenv(student.CLASS, str(tmp_path / "course" / "students"))
    key = course.create_course(tmp_path / "course", ["anna", "bert"], with_models=False)
    shutil.rmtree(tmp_path / "course" / "teacher")
    return key


def sign_in(app: AppTest, own: str) -> AppTest:
    app.text_input[0].set_value(own)
    press(app, "Sign in")
    return app


def press(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception, [e.message for e in app.exception]


def choose(app: AppTest, name: str) -> None:
    app.segmented_control(key="exercises.name").set_value(name).run()
    assert not app.exception, [e.message for e in app.exception]


def fill(app: AppTest, **values: str) -> None:
    boxes = [*app.text_input, *app.text_area, *app.selectbox, *app.radio]
    for field, value in values.items():
        next(box for box in boxes if str(box.key).endswith(f".{field}")).set_value(value)


def test_a_student_commits_sees_hints_and_hands_in(key: Key, open_page: OpenPage) -> None:
    app, anna = open_page("Exercises"), key["students"]["anna"]["id"]
    own = student.find_student(anna)
    sign_in(app, "anna")
    assert "copy the whole ID" in errors(app)[0]
    sign_in(app, anna)
    choose(app, "rate")
    assert "Defend" in link_labels(app)
    assert "Attack success %" not in app.table[0].value
    rates = student.view_exercise(own, "rate").fields[0].choices
    press(app, "Commit prediction")
    assert "rate is missing" in errors(app)[0].lower()
    fill(app, rate=rates[-1])
    press(app, "Commit prediction")
    assert "Attack success %" in app.table[0].value
    fill(app, left="0.001", best=rates[-1])
    press(app, "Check")
    hints = student.check_file(own / student.ANSWERS)["rate"]
    assert hints
    assert [line.removeprefix("- ") for line in app.warning[0].value.replace("\\", "").splitlines()] == hints


def test_the_quiz_is_taken_before_and_after(key: Key, open_page: OpenPage) -> None:
    anna = key["students"]["anna"]["id"]
    app = sign_in(open_page("Exercises"), anna)
    for _ in range(2):
        assert not app.success
        for radio in app.radio:
            radio.set_value(radio.options[0])
        press(app, "Hand in")
    assert app.success[0].value == "Stored."
    assert not app.warning
    entry = student.view_exercise(student.find_student(anna), "quiz").entry
    assert entry["before"] == entry["after"]


def test_the_hidden_trigger_is_checked_without_the_key(key: Key, open_page: OpenPage) -> None:
    line = key["students"]["anna"]
    app = sign_in(open_page("Exercises"), line["id"])
    choose(app, "trigger")
    fill(app, visible="no")
    press(app, "Commit prediction")
    hidden = {name: str(value) for name, value in line["tasks"]["trigger"].items()}
    options = next(box for box in app.selectbox if str(box.key).endswith(".target")).options
    wrong = next(target for target in options if target != hidden["target"])
    fill(app, **{**hidden, "target": wrong})
    press(app, "Check")
    assert "Target: another class" in page_text(app)
    held = [str(app.session_state), str(dict(app.query_params)), page_text(app)]
    for text in held:
        assert str(key["secret"]) not in text
        assert not re.search(rf"\b{hidden['target']}\b", text)
    fill(app, target=hidden["target"])
    press(app, "Check")
    assert app.success


def test_nobody_sees_the_answers_of_another(key: Key, open_page: OpenPage) -> None:
    anna, bert = (line["id"] for line in key["students"].values())
    first = sign_in(open_page("Exercises"), anna)
    choose(first, "plant")
    fill(first, change="rise", expect="12.345")
    press(first, "Commit prediction")
    assert "12.345" in page_text(first)
    second = open_page("Exercises")
    second.query_params.update(first.query_params)
    second.run()
    assert "12.345" not in page_text(second)
    sign_in(second, bert)
    choose(second, "plant")
    assert "12.345" not in page_text(second)
    assert "anna" not in page_text(second)


def test_without_a_course_a_name_is_enough(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(student.CLASS, raising=False)
    app = sign_in(open_page("Exercises"), "me")
    assert (student.students_root() / "me" / student.TASK).is_file()
    monkeypatch.setenv("CLEANER_PUBLIC", "1")
    app.run()
    assert "only for a course" in errors(app)[0]
