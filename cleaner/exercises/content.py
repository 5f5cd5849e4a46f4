"""What students read: exercises and quiz, with their fields and hints (assets/exercises/exercises.toml)."""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel

from cleaner.files import shipped_assets
from cleaner.types import CleanerError

FOLDER = shipped_assets() / "exercises"
MAX_TEXT, MIN_NUMBERS = 2000, 2
"""Characters of an answer, and numbers of the table that an argument must state."""


class Field(BaseModel, frozen=True):
    """One answer.

    Attributes:
        kind: "argument" is a text that states numbers of the table.
        when: before the reveal or after it; "run": the student's run states it.
        options: name in the task or in the exercise's settings that lists the choices.
        right: number of the right choice, from 1, if it is the same for all students.
    """

    name: str
    label: str
    kind: Literal["choice", "number", "text", "argument"] = "choice"
    when: Literal["before", "after", "both", "run"] = "after"
    choices: tuple[str, ...] = ()
    options: str = ""
    right: int = 0
    tolerance: float = 0.0
    pattern: str = "(?s).+"

    def parse(self, value: Any) -> str | float:
        """Return a validated answer; a choice may be given by its number. Raises `CleanerError`."""
        text = str(value).strip()[:MAX_TEXT]
        if self.kind == "choice":
            numbered = {str(i): choice for i, choice in enumerate(self.choices, 1)}
            if (text := text if text in self.choices else numbered.get(text, "")) == "":
                listed = ", ".join(f"{number} = {choice}" for number, choice in numbered.items())
                raise CleanerError(f"{self.name} must be a number of this list: {listed}.")
        elif self.kind == "number":
            try:
                return float(text.rstrip("% ").replace(",", "."))
            except ValueError:
                raise CleanerError(f"{self.name} must be a number, not {text[:40]!r}.") from None
        elif not re.fullmatch(self.pattern, text):
            raise CleanerError(f"{self.name} must be {self.label}, not {text[:40]!r}.")
        return text

    def matches(self, given: Any, right: Any) -> bool:
        """Return whether an answer is right; `right` may list several values, or the numbers of an argument."""
        if self.kind == "argument":
            stated = {float(n) for n in re.findall(r"\d+(?:\.\d+)?", str(given).replace(",", "."))}
            return sum(any(abs(n - value) <= 0.5 for value in right) for n in stated) >= MIN_NUMBERS
        if isinstance(right, list):
            return any(self.matches(given, value) for value in right)
        if self.kind == "number":
            is_measured = isinstance(given, int | float) and isinstance(right, int | float)
            return is_measured and abs(given - right) <= self.tolerance + 1e-9
        return str(given) == str(right)


class Hint(BaseModel, frozen=True):
    """What to say about a wrong answer; `when` as explained in exercises.toml."""

    field: str
    when: str = "any"
    text: str
    map: dict[str, str] = {}


class Exercise(BaseModel, frozen=True):
    """One exercise, or the quiz, which has no hints; `settings`: what its tasks are drawn from."""

    title: str
    goal: str
    steps: tuple[str, ...]
    hand_in: str
    limits: str
    fields: tuple[Field, ...]
    hints: tuple[Hint, ...] = ()
    fallback: str = ""
    page: str = ""
    minutes: int = 10
    settings: dict[str, Any] = {}

    def list_fields(self, when: str, task: Mapping[str, Any]) -> list[Field]:
        """Return the fields to answer "before" the reveal or "after" it, with the choices of a student's task."""
        fields, options = [], {**self.settings, **task}
        for field in (field for field in self.fields if field.when in (when, "both")):
            choices = tuple(map(str, options[field.options])) if field.options else field.choices
            fields.append(field.model_copy(update={"choices": choices}))
        return fields


@cache
def read_exercises() -> dict[str, Exercise]:
    """Return the quiz and all exercises by name, in the order of a class."""
    content = tomllib.loads((FOLDER / "exercises.toml").read_text(encoding="utf-8"))
    return {name: Exercise.model_validate(values) for name, values in content.items()}
