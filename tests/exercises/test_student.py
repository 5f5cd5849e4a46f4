"""Every wrong answer that a hint is about gets this hint; right ones get none; a student's folder tells no secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from cleaner.exercises import student, tasks
from cleaner.exercises.content import Exercise, Hint, read_exercises
from cleaner.files import read_json, write_json
from cleaner.types import CleanerError

SECRET = "secret of the course"
HINTS = [(name, hint) for name, exercise in read_exercises().items() for hint in exercise.hints]
FACTS = {"accuracy": 96.8, "success": 99.1, "floor": 0.4, "top3": 98.0}
Entry = dict[str, Any]


@pytest.fixture
def anna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene_cache: Path) -> Path:
    """The folder of a student in a course."""
    monkeypatch.setenv("CLEANER_CACHE", str(scene_cache))
    monkeypatch.setenv(student.CLASS, str(tmp_path / "students"))
    (tmp_path / "students").mkdir()
    (tmp_path / "students" / student.PLAYGROUND).touch()
    student.write_student(tmp_path / "students" / "anna", SECRET, "0f0f0f")
    return student.find_student("anna-0f0f0f")


def make_right(name: str, own: str) -> tuple[tasks.Task, Entry, dict[str, Any]]:
    """Return a task, the entry of a student who answers all of it right, and what is expected."""
    task, exercise = tasks.draw_tasks("s", own)[name], read_exercises()[name]
    facts: dict[str, Any] = FACTS if name == "plant" else {}
    before = {"rate": tasks.expect(name, task, {}, {})["rate"][0]} if name == "rate" else {}
    expected = tasks.expect(name, task, before, facts)
    given = {field.name: expected.get(field.name, "0") for field in exercise.fields} | before
    if name == "survive":
        given["argument"] = f"It leaves {expected['left']}% and costs {expected['cost']} points."
    before = {field.name: given[field.name] for field in exercise.fields if field.when == "before"}
    after = {key: value for key, value in given.items() if key not in before}
    return task, {"before": before, "after": after, "facts": facts}, expected


@pytest.mark.parametrize("name", list(tasks.KINDS))
def test_right_answers_get_no_hint(name: str) -> None:
    for own in ("anna", "bert"):
        task, entry, _ = make_right(name, own)
        assert student.check(name, task, entry, {}) == []


def list_wrong(hint: Hint, exercise: Exercise, expected: dict[str, Any]) -> Iterator[Any]:
    """Yield answers that the hint is about."""
    right, (rule, _, argument) = expected.get(hint.field), hint.when.partition(":")
    right = right[0] if isinstance(right, list) else right
    if rule == "scale":
        assert right is not None
        yield float(right) / float(argument)
    elif rule == "other":
        other = expected[argument]
        yield from other if isinstance(other, list) else [other]
    elif rule == "swap":
        yield from (key for key, value in hint.map.items() if value == right)
    else:
        field = next(field for field in exercise.fields if field.name == hint.field)
        yield from (*field.choices, *map(str, exercise.settings.get(field.options, ())), 12345.0, "none of these")


@pytest.mark.parametrize(("name", "hint"), HINTS, ids=[f"{n}-{h.field}-{h.when}-{i}" for i, (n, h) in enumerate(HINTS)])
def test_a_wrong_answer_gets_its_hint(name: str, hint: Hint) -> None:
    for own in map(str, range(3 if name == "texts" else 40)):
        task, entry, expected = make_right(name, own)
        for wrong in list_wrong(hint, read_exercises()[name], expected):
            part = "before" if hint.field in entry["before"] else "after"
            if hint.text in student.check(name, task, {**entry, part: {**entry[part], hint.field: wrong}}, {}):
                return
    pytest.fail(f"no wrong answer gets: {hint.text}")


@pytest.mark.parametrize("name", list(tasks.KINDS))
def test_an_answer_that_was_removed_from_the_file_is_not_right(name: str) -> None:
    task, entry, expected = make_right(name, "anna")
    for field in entry["after"].keys() & expected.keys():
        after = {key: value for key, value in entry["after"].items() if key != field}
        assert student.check(name, task, {**entry, "after": after}, {})
    assert student.check(name, task, {**entry, "after": {}}, {})
    if name == "plant":
        assert len(student.check(name, task, {**entry, "facts": {}}, {})) == 3


def test_a_hidden_task_is_checked_without_the_task(anna: Path) -> None:
    seal, hidden = read_json(anna / student.TASK), tasks.draw_tasks(SECRET, "anna")["trigger"]
    right = {name: str(value) for name, value in hidden.items()}
    exercise = read_exercises()["trigger"]
    vertical, horizontal = right["position"].split("-")
    mirrored = f"{vertical}-{'left' if horizontal == 'right' else 'right'}"
    flipped = f"{'top' if vertical == 'bottom' else 'bottom'}-{horizontal}"
    others = {name: next(v for v in map(str, exercise.settings[f"{name}s"]) if v != right[name]) for name in right}

    def hints(**changed: str) -> list[str]:
        return student.check("trigger", None, {"after": {**right, **changed}}, seal)

    assert hints() == []
    assert "left and right" in hints(position=mirrored)[0]
    assert "top and bottom" in hints(position=flipped)[0]
    for name in ("target", "size"):
        (hint,) = hints(**{name: others[name]})
        assert hint.startswith(name.capitalize())
    assert hints(size=others["size"], target=others["target"]) == [exercise.fallback]


def test_a_prediction_comes_first_and_stays(anna: Path) -> None:
    rates = student.view_exercise(anna, "rate").fields[0].choices
    with pytest.raises(CleanerError, match="'left' is not asked now: answer rate"):
        student.answer(anna, "rate", {"left": 1, "best": 1})
    student.answer(anna, "rate", {"rate": "2"})
    with pytest.raises(CleanerError, match="'rate' is not asked now"):
        student.answer(anna, "rate", {"rate": rates[0]})
    assert student.check_file(anna / student.ANSWERS) == {"rate": ["Only the prediction is there: answer the rest."]}
    student.answer(anna, "rate", {"left": -1, "best": rates[0]})
    assert student.check_file(anna / student.ANSWERS)["rate"]
    entry = student.view_exercise(anna, "rate").entry
    assert (entry["before"], entry["after"]["left"], entry["tries"]) == ({"rate": rates[1]}, -1, 1)


@pytest.mark.parametrize("name", ["rate", "survive", "texts"])
def test_the_attack_is_shown_after_the_prediction(anna: Path, name: str) -> None:
    hidden = student.view_exercise(anna, name)
    values = {"rate": {"rate": 1}, "survive": {"guess": 1}}.get(
        name, {"sort": "tff" * 4, "guess_before": 1, "guess_after": 2}
    )
    student.answer(anna, name, values)
    shown = student.view_exercise(anna, name)
    assert len(hidden.rows) == len(shown.rows)
    assert set(hidden.rows[0]) < set(shown.rows[0])
    assert not [column for column in hidden.rows[0] if "success" in column or "Backdoored" in column]
    assert [field.name for field in hidden.fields] != [field.name for field in shown.fields]


def test_the_quiz_asks_the_same_twice_and_gives_no_hint(anna: Path) -> None:
    values = {field.name: "1" for field in student.view_exercise(anna, "quiz").fields}
    student.answer(anna, "quiz", values)
    student.answer(anna, "quiz", values)
    assert list(student.view_exercise(anna, "quiz").entry["after"]) == list("123456")
    assert student.check_file(anna / student.ANSWERS) == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"visible": "7"}, "must be a number of this list"),
        ({}, "is missing"),
        ({"visible": "yes", "other": 1}, "is not asked now"),
    ],
)
def test_bad_answers_are_refused(anna: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(CleanerError, match=message):
        student.answer(anna, "trigger", values)
    assert not (anna / student.ANSWERS).exists()


def test_a_run_states_the_trigger(anna: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    student.answer(anna, "plant", {"change": "2", "expect": "50%"})
    answers = {"accuracy": 97, "success": "96,2", "floor": 0, "why": 2}
    with pytest.raises(CleanerError, match="no finished run 'none'"):
        student.answer(anna, "plant", {"run": "none", **answers})
    student.answer(anna, "plant", {"run": "example-badnet", **answers})
    hints = student.check_file(anna / student.ANSWERS)["plant"]
    assert any("another target class" in hint for hint in hints)  # banana, which no task has
    after = student.view_exercise(anna, "plant").entry["after"]
    assert (after["target"], after["position"], after["success"]) == ("banana", "bottom-right", 96.2)


def test_a_file_is_checked_with_the_key_as_in_its_folder(anna: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    write_json(key, {"secret": SECRET})
    student.answer(anna, "trigger", {"visible": "no"})
    student.answer(anna, "trigger", tasks.draw_tasks(SECRET, "anna")["trigger"])
    collected = tmp_path / "collected.json"
    collected.write_bytes((anna / student.ANSWERS).read_bytes())
    assert student.check_file(anna / student.ANSWERS) == student.check_file(collected, key) == {"trigger": []}
    for path, wrong_key in ((collected, None), (collected, collected), (tmp_path / "none.json", key)):
        with pytest.raises(CleanerError):
            student.check_file(path, wrong_key)


def test_a_student_s_folder_has_neither_secret_nor_hidden_task(anna: Path) -> None:
    assert "trigger" not in read_json(anna / student.TASK)["tasks"]
    letters = tasks.expect("texts", tasks.draw_tasks(SECRET, "anna")["texts"], {}, {})["sort"]
    for path in anna.iterdir():
        hidden = (SECRET, letters, str(anna.parent), *(["0f0f0f"] if path.name != student.SHEET else []))
        assert not [word for word in hidden if word in path.read_text()]
    assert "anna-0f0f0f" in (anna / student.SHEET).read_text()


@pytest.mark.parametrize(
    "own", ["", "../anna", "a b", "x" * 33, "carl-0f0f0f", "anna", "anna-", "anna-000000", "-0f0f0f"]
)
def test_unknown_ids_are_refused(anna: Path, own: str) -> None:
    with pytest.raises(CleanerError):
        student.find_student(own)
    assert sorted(path.name for path in anna.parent.iterdir()) == ["anna", student.PLAYGROUND]


def test_without_a_course_a_folder_is_made(anna: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(student.CLASS)
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    own = student.find_student("me")
    assert own.is_relative_to(tmp_path)
    assert "playground" not in (own / student.SHEET).read_text()
    monkeypatch.setenv("CLEANER_PUBLIC", "1")
    with pytest.raises(CleanerError, match="only for a course"):
        student.find_student("me")


def test_the_sheet_is_one_offline_page(anna: Path) -> None:
    html = (anna / student.SHEET).read_text()
    assert not re.findall(r"https?://|<script|url\(", html)
    assert html.count("<section>") == len(read_exercises())
    assert html.count("data:image/png") == tasks.IMAGES
    assert all(field.label in unescape(html) for field in read_exercises()["quiz"].fields)
    assert 'href="../playground.html"' in html
    assert json.dumps(tasks.draw_tasks(SECRET, "anna")["rate"]["choices"][0]).strip('"') in html
