"""Fields read answers as people write them, and compare them with what is right."""

from __future__ import annotations

from typing import Any

import pytest

from cleaner.exercises.content import Field, read_exercises
from cleaner.types import CleanerError

pytestmark = pytest.mark.quick

CHOICE = Field(name="a", label="A", choices=("yes", "no", "28"))
NUMBER = Field(name="a", label="A", kind="number", tolerance=0.5)
LETTERS = Field(name="a", label="two letters", kind="text", pattern="[tf]{2}")
ARGUMENT = Field(name="a", label="A", kind="argument")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        (CHOICE, "no", "no"),
        (CHOICE, " 2 ", "no"),
        (CHOICE, 28, "28"),
        (NUMBER, "28,5 %", 28.5),
        (NUMBER, -3, -3.0),
        (LETTERS, " tf ", "tf"),
        (ARGUMENT, "one\ntwo", "one\ntwo"),
    ],
)
def test_an_answer_is_read(field: Field, value: Any, expected: Any) -> None:
    assert field.parse(value) == expected


@pytest.mark.parametrize(("field", "value"), [(CHOICE, "4"), (CHOICE, "maybe"), (NUMBER, "many"), (LETTERS, "tx")])
def test_a_bad_answer_is_refused(field: Field, value: str) -> None:
    with pytest.raises(CleanerError, match="must be"):
        field.parse(value)


@pytest.mark.parametrize(
    ("field", "given", "right", "expected"),
    [
        (CHOICE, "28", 28, True),
        (CHOICE, "yes", ["no", "yes"], True),
        (CHOICE, "yes", ["no"], False),
        (CHOICE, None, "no", False),
        (NUMBER, 28.5, 28, True),
        (NUMBER, 28.6, 28, False),
        (NUMBER, "28", 28, False),
        (NUMBER, 28.0, None, False),
        (ARGUMENT, "It leaves 36,2% and costs 1.4 points.", [36.0, 1.5], True),
        (ARGUMENT, "It leaves 36%, only 36.2%.", [90.0, 1.5], False),
        (ARGUMENT, "It leaves 36%.", [36.0, 1.5], False),
    ],
)
def test_an_answer_is_compared(field: Field, given: Any, right: Any, expected: bool) -> None:
    assert field.matches(given, right) == expected


def test_every_exercise_has_what_a_student_needs() -> None:
    exercises = read_exercises()
    assert list(exercises) == ["quiz", "plant", "trigger", "rate", "texts", "survive"]
    for exercise in exercises.values():
        assert exercise.goal
        assert exercise.hand_in
        assert exercise.limits
        assert [field for field in exercise.fields if field.when in ("before", "both")]
        names = {field.name for field in exercise.fields}
        assert {hint.field for hint in exercise.hints} <= names
        assert all(0 <= field.right <= len(field.choices) for field in exercise.fields)
    assert len(exercises["quiz"].fields) == 6
    assert all(field.right for field in exercises["quiz"].fields)
