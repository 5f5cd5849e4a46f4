"""Every wrong answer that a hint is about gets this hint; right answers get none, open and sealed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cleaner.exercises import check, tasks
from cleaner.exercises.content import Exercise, Hint, find_exercise, read_content
from cleaner.types import CleanerError

HINTS = [(name, hint) for name, exercise in read_content().exercises.items() for hint in exercise.hints]
FACTS = {"accuracy": 96.8, "success": 99.1, "floor": 0.4, "top3": 98.0}


@pytest.fixture(autouse=True)
def cheap_seal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(check.SCRYPT, "n", 2**4)


def make_right(name: str, student: str) -> tuple[tasks.Task, dict[str, Any], dict[str, Any]]:
    """Return a task, the entry of a student who answers all of it right, and what is expected."""
    task, exercise = tasks.draw_task("s", student, name), find_exercise(name)
    facts: dict[str, Any] = {**FACTS, "used": dict(task)} if name == "plant" else {}
    committed: dict[str, Any] = {field.name: "0" for field in exercise.list_fields(is_prediction=True)}
    if name == "rate":
        committed["rate"] = tasks.expect(name, task, {}, {})["rate"][0]
    expected = tasks.expect(name, task, committed, facts)
    given = {field.name: expected.get(field.name, "x") for field in exercise.fields}
    if name == "survive":
        given["argument"] = f"It leaves {expected['left']}% and costs {expected['cost']} points."
    committed = {n: committed[n] if n == "rate" else given[n] for n in committed}
    answers = {n: value for n, value in given.items() if n not in committed}
    return task, {"committed": committed, "answers": answers, "facts": facts}, expected


@pytest.mark.parametrize("name", list(read_content().exercises))
def test_right_answers_get_no_hint(name: str) -> None:
    for student in ("anna", "bert"):
        task, entry, _ = make_right(name, student)
        assert check.check(name, task, entry) == []


def list_wrong(hint: Hint, exercise: Exercise, expected: dict[str, Any]) -> Iterator[Any]:
    """Yield answers that the hint is about."""
    right, (rule, _, argument) = expected.get(hint.field), hint.when.partition(":")
    right = right[0] if isinstance(right, list) else right
    if rule == "scale":
        yield float(right) / float(argument)
    elif rule == "other":
        other = expected[argument]
        yield from other if isinstance(other, list) else [other]
    elif rule == "swap":
        yield from (key for key, value in hint.map.items() if value == (f"{right:g}" if right != str(right) else right))
    else:
        field = next((field for field in exercise.fields if field.name == hint.field), None)
        yield from field.choices if field is not None and field.choices else (12345.0, "none of these")


@pytest.mark.parametrize(("name", "hint"), HINTS, ids=[f"{n}-{h.field}-{h.when}-{i}" for i, (n, h) in enumerate(HINTS)])
def test_a_wrong_answer_gets_its_hint(name: str, hint: Hint) -> None:
    students = range(3 if name == "texts" else 40)
    for student in map(str, students):
        task, entry, expected = make_right(name, student)
        exercise = find_exercise(name)
        for wrong in list_wrong(hint, exercise, {**expected, **task} if name == "plant" else expected):
            part = "committed" if hint.field in entry["committed"] else "answers"
            part = "facts" if hint.field not in entry["committed"] | entry["answers"] else part
            changed = {"used": {**task, hint.field: wrong}} if part == "facts" else {hint.field: wrong}
            found = check.check(name, task, {**entry, part: {**entry[part], **changed}})
            if hint.text in found:
                return
    pytest.fail(f"no wrong answer gets: {hint.text}")


def test_a_sealed_task_is_checked_without_the_task() -> None:
    task = {"target": "kite", "position": "top-left", "size": 28}
    seal = {"salt": "00" * 16, "seal": check.seal_answers("00" * 16, task)}
    exercise = find_exercise("trigger")

    def hints(**changed: Any) -> list[str]:
        return check.check("trigger", {}, {"answers": {**task, "size": 28.0, **changed}}, seal)

    assert hints() == []
    assert hints(target="Kite") == []
    assert "left and right" in hints(position="top-right")[0]
    assert "top and bottom" in hints(position="bottom-left")[0]
    assert "3.5" in hints(size=8.0)[0]
    assert hints(target="bus") == [exercise.fallback]
    assert hints(size=35.0, target="bus") == [exercise.fallback]


def test_nothing_answered_is_not_right() -> None:
    assert check.check("rate", tasks.draw_task("s", "a", "rate"), {"committed": {"rate": 1}})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"visible": "7"}, "must be a number of this list"),
        ({}, "is missing"),
        ({"visible": "yes", "other": 1}, "is not asked here"),
    ],
)
def test_bad_answers_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(CleanerError, match=message):
        check.parse_answers("trigger", values, is_prediction=True)


def test_answers_are_read_as_people_write_them() -> None:
    assert check.parse_answers("trigger", {"visible": "2"}, is_prediction=True) == {"visible": "no"}
    answers = {"target": " kite ", "position": "1", "size": "28,0"}
    assert check.parse_answers("trigger", answers, is_prediction=False) == {
        "target": "kite",
        "position": "bottom-right",
        "size": 28.0,
    }
