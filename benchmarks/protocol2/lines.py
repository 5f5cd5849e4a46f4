"""Which lines of protocol 2 a table shows, and what it calls their methods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cleaner.labels import NO_DEFENSE
from cleaner.variant import Variant

BUDGETS = (0.02, 0.05)
"""Losses of accuracy at which methods are compared."""
CLAIM_STEPS = 651
"""Steps of the full schedule, seven epochs of 6,000 pairs."""
PLAIN_TASK = {"world": "scenes", "is_aware": False, "data": "disjoint", "steps": CLAIM_STEPS}
"""Values of each task in the main comparison."""
OWN_FORMULA = "ours"
MEASURED_ALONE = ("par",)
"""Methods that were corrected once everything was measured: another processor may measure them, on its own models."""
COPY_NOTE = "measured later, on models backdoored again on a different type of processor"
"""What tables say of lines that `select_rows` marks `is_on_copy`."""
GROUP = ("attack", "target", "seed", "world", "is_aware")
"""Fields of a task that name its backdoored model."""


def find_variant(row: Mapping[str, Any]) -> Variant:
    """Return the method of a line with its share; of TA-Cleaner with the formula too, unless it is this project's."""
    state = row["config"].get("defense") or {}
    own = {"formula": OWN_FORMULA}
    changed = {name: state[name] for name in ("share", "formula") if name in state and state[name] != own.get(name)}
    return Variant(state.get("name", NO_DEFENSE), changed)


def select_rows(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the lines with test metrics; of each backdoored model those of one processor, which measured most.

    Those of `MEASURED_ALONE` come from the processor that measured most of them. If it is another one, it backdoored a
    copy of its own: `is_on_copy` marks them, and `copy_asr` is the ASR@1 of that copy. rows: what one table compares;
    another may need another processor.
    """
    cells = [row for row in rows if row["task"]["kind"] == "cell" and row.get("metrics")]
    usual = _select_processor([row for row in cells if row["task"]["method"] not in MEASURED_ALONE], _find_group)
    alone = _select_processor([row for row in cells if row["task"]["method"] in MEASURED_ALONE], _find_curve)
    processors = {_find_group(row): row["processor"] for row in usual}
    copies = {(_find_group(row), str(row["processor"])): row["metrics"] for row in cells if not row["task"]["method"]}

    def mark(row: Mapping[str, Any]) -> Mapping[str, Any]:
        if row["processor"] == processors.get(_find_group(row), row["processor"]):
            return row
        metrics = copies.get((_find_group(row), str(row["processor"]))) or {}
        return {**row, "is_on_copy": True, "copy_asr": metrics.get("asr", {}).get("1")}

    return [*usual, *map(mark, alone)]


def _select_processor(
    rows: Sequence[Mapping[str, Any]], find_key: Callable[[Mapping[str, Any]], tuple[Any, ...]]
) -> list[Mapping[str, Any]]:
    """Keep, per key, the lines of the processor that measured most of them."""
    counts = Counter((find_key(row), str(row["processor"])) for row in rows)
    best: dict[tuple[Any, ...], str] = {}
    for (key, processor), count in counts.items():
        if key not in best or count > counts[key, best[key]]:
            best[key] = processor
    return [row for row in rows if str(row["processor"]) == best[find_key(row)]]


def _find_group(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row.get("model"), *(row["task"][name] for name in GROUP))


def _find_curve(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (*_find_group(row), row["task"]["method"], row["task"]["form"])
