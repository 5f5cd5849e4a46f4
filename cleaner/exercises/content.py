"""What students read: exercises with their fields and hints, and the quiz (assets/exercises)."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict

from cleaner.files import read_json_cached, shipped_assets
from cleaner.registry import suggest
from cleaner.types import CleanerError

FOLDER = shipped_assets() / "exercises"
QUIZ = "quiz"
"""Name under which answers to the quiz are stored."""
ROUNDS = ("before", "after")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Field(_Part):
    """One answer. `kind`: choice, number, text or argument; predictions are committed before the reveal.

    `pattern`: regular expression that a text matches.
    """

    name: str
    label: str
    kind: str
    choices: tuple[str, ...] = ()
    tolerance: float = 0.0
    pattern: str = ""
    is_prediction: bool = False


class Hint(_Part):
    """What to say about a wrong answer; `when` as explained in exercises.toml."""

    field: str
    when: str
    text: str
    map: dict[str, str] = {}


class Exercise(_Part):
    """One exercise; `settings` are what its tasks are drawn from and made of."""

    model_config = ConfigDict(frozen=True, extra="allow")

    title: str
    goal: str
    steps: tuple[str, ...]
    hand_in: str
    limits: str
    fallback: str
    fields: tuple[Field, ...]
    hints: tuple[Hint, ...]
    minutes: int = 10

    @property
    def settings(self) -> dict[str, Any]:
        return self.model_extra or {}

    def list_fields(self, *, is_prediction: bool) -> list[Field]:
        """Return the fields to fill before the reveal, or after it."""
        return [field for field in self.fields if field.is_prediction == is_prediction]


class QuizItem(_Part):
    """One item of the quiz; `answer` counts from 1."""

    text: str
    choices: tuple[str, ...]
    answer: int


class Content(_Part):
    exercises: dict[str, Exercise]
    quiz: tuple[QuizItem, ...]


@cache
def read_content() -> Content:
    """Return all exercises and the quiz."""
    return Content.model_validate(tomllib.loads((FOLDER / "exercises.toml").read_text(encoding="utf-8")))


def find_exercise(name: str) -> Exercise:
    """Return an exercise by name; raise `CleanerError` if there is none."""
    exercises = read_content().exercises
    if name not in exercises:
        raise CleanerError(f"there is no exercise {name[:80]!r}{suggest(name, exercises)}.")
    return exercises[name]


def read_rates() -> dict[str, Any]:
    """Return what learning rates cost and left (benchmarks/exercise_rates.py), as shares."""
    return read_json_cached(FOLDER / "rates.json")
