"""The quiz before and after the exercises, and its item statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import correlation, pstdev
from typing import Any, NamedTuple

from cleaner.exercises.content import QUIZ, ROUNDS, read_content
from cleaner.files import read_json
from cleaner.types import CleanerError


class ItemStatistics(NamedTuple):
    """One item over the students who answered both rounds.

    `before`, `after`: share of right answers; gained, lost: students from wrong to right, and back. `discrimination`:
    correlation of the item with the sum of the others, after; None where one of them does not vary.
    """

    number: int
    n: int
    before: float
    after: float
    gained: int
    lost: int
    discrimination: float | None


def parse_choices(choices: Sequence[Any]) -> list[int]:
    """Return one number per item. Raises `CleanerError` for another count or a number that is no choice."""
    items = read_content().quiz
    texts = [str(choice).strip() for choice in choices]
    fits = len(texts) == len(items) and all(
        text.isdecimal() and 1 <= int(text) <= len(item.choices) for text, item in zip(texts, items, strict=True)
    )
    if not fits:
        raise CleanerError(f"the quiz needs {len(items)} numbers, one per item: 1 to {len(items[0].choices)}.")
    return [int(text) for text in texts]


def collect(folder: Path) -> list[Mapping[str, Any]]:
    """Return the files of answers in a course's folder, or in a folder of collected files."""
    found = [read_json(path) for path in sorted(folder.rglob("*.json"))]
    return [answers for answers in found if answers.get("student") and "tasks" not in answers]


def summarize(answers: Iterable[Mapping[str, Any]]) -> list[ItemStatistics]:
    """Return the statistics of each item; students who answered one round only are left out."""
    right = [item.answer for item in read_content().quiz]
    entries = [a.get(QUIZ) or {} for a in answers]
    pairs = [[entry[name] for name in ROUNDS] for entry in entries if all(name in entry for name in ROUNDS)]
    before, after = ([[int(x == y) for x, y in zip(pair[i], right, strict=True)] for pair in pairs] for i in (0, 1))
    rows = []
    for i in range(len(right)):
        old, new, n = [row[i] for row in before], [row[i] for row in after], len(pairs)
        rest = [sum(row) - row[i] for row in after]
        varies = n > 2 and pstdev(new) > 0 and pstdev(rest) > 0
        gained = sum(y > x for x, y in zip(old, new, strict=True))
        lost = sum(y < x for x, y in zip(old, new, strict=True))
        shares = (sum(old) / n, sum(new) / n) if n else (0.0, 0.0)
        rows.append(ItemStatistics(i + 1, n, *shares, gained, lost, correlation(new, rest) if varies else None))
    return rows
