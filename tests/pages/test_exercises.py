"""The Exercises page: sign in, commit, see hints, hand in; the key is reachable from nothing that a student has."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cleaner.exercises import check, course
from cleaner.exercises.content import read_content
from cleaner.files import read_json
from tests.pages.conftest import OpenPage, errors, link_labels, page_text

Key = dict[str, Any]


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Key:
    """The key of a course that the app serves; the teacher's folder is not on the server. Before `open_page`: it needs
    the built-in models."""
    monkeypatch.setitem(check.SCRYPT, "n", 2**4)
    monkeypatch.setenv(course.CLASS, str(tmp_path / "course" / "students"))
    monkeypatch.setattr(course.secrets, "token_hex", lambda n: "5a" * n)
    key = course.create_course(tmp_path / "course", ["anna", "bert"], with_models=False)
    shutil.rmtree(tmp_path / "course" / "teacher")
    return key


def sign_in(app: AppTest, student: str, pin: str) -> AppTest:
    app.text_input[0].set_value(student)
    app.text_input[1].set_value(pin)
    press(app, "Sign in")
    return app


def press(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception, [e.message for e in app.exception]


def choose(app: AppTest, name: str) -> None:
    app.segmented_control(key="exercises.name").set_value(name).run()
    assert not app.exception, [e.message for e in app.exception]


def fill(app: AppTest, name: str, **values: str) -> None:
    for field, value in values.items():
        boxes = [*app.text_input, *app.text_area, *app.selectbox]
        next(box for box in boxes if box.key == f"exercises.{name}.{field}").set_value(value)


def test_a_student_commits_sees_hints_and_hands_in(key: Key, open_page: OpenPage) -> None:
    app = open_page("Exercises")
    own = course.find_student("anna")
    sign_in(app, "anna", "wrong")
    assert "does not open this ID" in errors(app)[0]
    sign_in(app, "anna", str(key["students"]["anna"]["pin"]))
    assert "Poison" in link_labels(app)
    choose(app, "rate")
    assert "Attack success %" not in app.dataframe[0].value
    rate = course.read_task(own, "rate")["rates"][-1]
    fill(app, "rate", rate=str(rate))
    press(app, "Commit prediction")
    assert "Attack success %" in app.dataframe[0].value
    fill(app, "rate", left="0.001", aware="7")
    press(app, "Check")
    assert app.warning
    hints = course.check_entry(own, "rate")
    assert [warning.value.replace("\\", "") for warning in app.warning] == hints
    choose(app, "quiz.before")
    for radio in app.radio:
        radio.set_value(radio.options[0])
    press(app, "Hand in")
    assert course.read_entry(own, "quiz")["before"] == [1] * len(read_content().quiz)


def test_the_hidden_trigger_is_checked_without_the_key(key: Key, open_page: OpenPage) -> None:
    line = key["students"]["anna"]
    app = sign_in(open_page("Exercises"), "anna", str(line["pin"]))
    choose(app, "trigger")
    fill(app, "trigger", visible="no")
    press(app, "Commit prediction")
    hidden = line["tasks"]["trigger"]
    fill(app, "trigger", target="zebra", position=str(hidden["position"]), size=str(hidden["size"]))
    press(app, "Check")
    assert "At least one of the three is wrong" in page_text(app)
    held = [str(app.session_state), str(dict(app.query_params)), page_text(app)]
    held += [str(element.proto) for element in app.main]
    for text in held:
        assert str(key["secret"]) not in text
        assert not re.search(rf"\b{hidden['target']}\b", text)
        assert read_json(course.find_student("anna") / course.TASK)["seal"] not in text
    fill(app, "trigger", target=str(hidden["target"]))
    press(app, "Check")
    assert app.success


def test_nobody_sees_the_answers_of_another(key: Key, open_page: OpenPage) -> None:
    first = sign_in(open_page("Exercises"), "anna", str(key["students"]["anna"]["pin"]))
    choose(first, "trigger")
    fill(first, "trigger", visible="no")
    press(first, "Commit prediction")
    code = course.read_entry(course.find_student("anna"), "trigger")["code"]
    assert code in page_text(first)
    second = open_page("Exercises")
    second.query_params.update(first.query_params)
    second.run()
    assert code not in page_text(second)
    sign_in(second, "bert", str(key["students"]["bert"]["pin"]))
    choose(second, "trigger")
    assert code not in page_text(second)
    assert "anna" not in page_text(second)


def test_without_a_course_an_id_is_enough(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(course.CLASS, raising=False)
    monkeypatch.setitem(check.SCRYPT, "n", 2**4)
    app = open_page("Exercises")
    app.text_input[0].set_value("me")
    press(app, "Sign in")
    assert (course.students_root() / "me" / course.TASK).is_file()
    monkeypatch.setenv("CLEANER_PUBLIC", "1")
    app.run()
    assert "only for a course" in errors(app)[0]
