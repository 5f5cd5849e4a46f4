"""Check answers: right or wrong, and a hint that names the mistake."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from cleaner.exercises.content import Exercise, Field, find_exercise
from cleaner.exercises.tasks import HIDDEN, Task, expect
from cleaner.types import CleanerError

IsRight = Callable[[str, Any], bool]
MAX_TEXT = 2000
MIN_NUMBERS = 2
"""Numbers of the table that an argument must name."""
SCRYPT: dict[str, int] = {"n": 2**15, "r": 8, "p": 1, "maxmem": 2**26}
"""Cost of one guess: about a tenth of a second, so that trying all answers takes longer than the exercise."""


def parse_answers(exercise: str, values: Mapping[str, Any], *, is_prediction: bool) -> dict[str, Any]:
    """Return validated answers to all fields before or after the reveal.

    Raises `CleanerError` for an unknown or missing field and for a value of the wrong kind.
    """
    fields = {field.name: field for field in find_exercise(exercise).list_fields(is_prediction=is_prediction)}
    for name in values:
        if name not in fields:
            raise CleanerError(f"{name[:40]!r} is not asked here: answer {', '.join(fields)}.")
    if missing := [name for name in fields if values.get(name) in (None, "")]:
        raise CleanerError(f"{', '.join(missing)} is missing: answer all of {', '.join(fields)}.")
    return {name: _parse(field, values[name]) for name, field in fields.items()}


def _parse(field: Field, value: Any) -> Any:
    text = str(value).strip()[:MAX_TEXT]
    if field.kind == "choice":
        if text.isdecimal() and 1 <= int(text) <= len(field.choices):
            return field.choices[int(text) - 1]
        if text not in field.choices:
            numbered = ", ".join(f"{i} = {choice}" for i, choice in enumerate(field.choices, 1))
            raise CleanerError(f"{field.name} must be a number of this list: {numbered}.")
        return text
    if field.kind == "number":
        try:
            return float(text.rstrip("% ").replace(",", "."))
        except ValueError:
            raise CleanerError(f"{field.name} must be a number, not {text[:40]!r}.") from None
    if field.pattern and not re.fullmatch(field.pattern, text):
        raise CleanerError(f"{field.name} must be as asked ({field.label}), not {text[:40]!r}.")
    return text


def seal_answers(salt: str, task: Mapping[str, Any]) -> str:
    """Return a slow hash of all answers to the hidden task: a student's copy holds this instead of the task."""
    size = float(task.get("size") or 0)
    text = f"{task.get('target')}|{task.get('position')}|{size:g}".lower()
    return hashlib.scrypt(text.encode(), salt=bytes.fromhex(salt), dklen=16, **SCRYPT).hex()


def check(exercise: str, task: Task, entry: Mapping[str, Any], seal: Mapping[str, str] | None = None) -> list[str]:
    """Return a hint for each wrong answer of an entry; none if all are right.

    entry: "committed", "answers" and "facts". seal: "salt" and "seal" in place of a task that is hidden.
    """
    content = find_exercise(exercise)
    if not entry.get("answers"):
        return ["Nothing is answered yet: commit the prediction, then answer the rest."]
    if exercise == HIDDEN and seal is not None:
        return _check_sealed(content, entry["answers"], seal)
    expected = expect(exercise, task, entry.get("committed") or {}, entry.get("facts") or {})
    used = (entry.get("facts") or {}).get("used") or {}
    given = {**(entry.get("committed") or {}), **entry["answers"], **used}
    fields = _index_fields(content, used)

    def is_right(name: str, value: Any) -> bool:
        return _matches(fields[name], value, expected[name])

    wrong = [name for name in given if name in fields and name in expected and not is_right(name, given[name])]
    return [_find_hint(content, fields[name], given[name], is_right, expected) or content.fallback for name in wrong]


def _index_fields(content: Exercise, used: Mapping[str, Any]) -> dict[str, Field]:
    kinds = {name: "number" if name == "size" else "text" for name in used}
    return {field.name: field for field in content.fields} | {
        name: Field(name=name, label=name, kind=kind, tolerance=0.5) for name, kind in kinds.items()
    }


def _check_sealed(content: Exercise, answers: Mapping[str, Any], seal: Mapping[str, str]) -> list[str]:
    def is_right(name: str, value: Any) -> bool:
        return seal_answers(seal["salt"], {**answers, name: value}) == seal["seal"]

    fields = content.list_fields(is_prediction=False)
    if is_right(fields[0].name, answers.get(fields[0].name)):
        return []
    hints = (_find_hint(content, field, answers.get(field.name), is_right, None) for field in fields)
    return [next(filter(None, hints), content.fallback)]


def _matches(field: Field, given: Any, right: Any) -> bool:
    if field.kind == "argument":
        numbers = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", str(given).replace(",", "."))}
        return sum(any(abs(number - value) <= 0.5 for value in right) for number in numbers) >= MIN_NUMBERS
    if isinstance(right, list):
        return any(_matches(field, given, each) for each in right)
    if field.kind == "number":
        try:
            return abs(float(given) - float(right)) <= field.tolerance + 1e-9
        except (TypeError, ValueError):
            return False
    return str(given).strip().lower() == str(right).lower()


def _find_hint(
    content: Exercise, field: Field, given: Any, is_right: IsRight, expected: Mapping[str, Any] | None
) -> str | None:
    """Return the first hint about a wrong answer that fits; expected: None while the task is hidden."""
    for hint in (hint for hint in content.hints if hint.field == field.name):
        rule, _, argument = hint.when.partition(":")
        if rule == "any":
            fits = expected is not None
        elif rule == "scale":
            fits = isinstance(given, int | float) and is_right(field.name, given * float(argument))
        elif rule == "swap":
            key = f"{given:g}" if isinstance(given, float) else str(given)
            fits = key in hint.map and is_right(field.name, hint.map[key])
        else:
            fits = argument in (expected or {}) and _matches(field, given, (expected or {})[argument])
        if fits:
            return hint.text
    return None
