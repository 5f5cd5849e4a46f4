"""Rows of a result file: each is written when it is measured, so that a second call measures only what is missing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmarks import protocol
from benchmarks.markdown.cells import Row
from benchmarks.tasks import lock_path
from cleaner.files import has_config
from cleaner.runs.run import Run, load_run, load_run_clip, save_run


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a result file; empty if there is none. A file that cannot be read must not be replaced."""
    return list(json.loads(path.read_text(encoding="utf-8"))["rows"]) if path.exists() else []


def add_row(path: Path, row: Row, order: Callable[[Row], Any] = lambda _: 0, **fields: Any) -> None:
    """Add a row to a result file, which other processes may do at the same time."""
    with FileLock(lock_path(path, "append")):
        rows = sorted([*read_rows(path), row], key=order)
        protocol.write_result(path, seeds=sorted({row["seed"] for row in rows}), **fields, rows=rows)


def select_suspects(rows: list[Row], size: int, locate: Callable[[str, int], Path]) -> list[Row]:
    """Return, of each attack and seed, the rows of one backdoored model: one with all `size`, else the stored one.

    The same attack and seed give other weights on another processor: what was measured against those does not count.
    While no model is stored, the rows of the one with most count. locate: (attack, seed) to the folder of its run.
    """
    selected = []
    for key, by_hash in group_by_suspect(rows).items():
        fullest = max(by_hash.values(), key=len)
        is_chosen = len(fullest) == size or not has_config(folder := locate(*key))
        selected += fullest if is_chosen else by_hash.get(hash_suspect(folder), [])
    return selected


def group_by_suspect(rows: list[Row]) -> dict[tuple[str, int], dict[str, list[Row]]]:
    """Return (attack, seed) -> hash of the backdoored model -> its rows."""
    groups: dict[tuple[str, int], dict[str, list[Row]]] = {}
    for row in rows:
        groups.setdefault((row["trigger"], row["seed"]), {}).setdefault(row["suspect_sha256"], []).append(row)
    return groups


def complete_groups(rows: list[Row], size: int) -> list[Row]:
    """Return the rows of every attack and seed that has all `size`."""
    counts = Counter((row["trigger"], row["seed"]) for row in rows)
    return [row for row in rows if counts[row["trigger"], row["seed"]] == size]


def load_or_make_run(folder: Path, make: Callable[[], Run]) -> Run:
    """Return the run of a folder; the first of several processes makes and stores it, the others wait."""
    with FileLock(lock_path(folder, "poison")):
        if not has_config(folder):
            save_run(make(), folder)
    return load_run(folder)


@cache
def hash_suspect(folder: Path) -> str:
    """Return the hash of a stored run's weights."""
    return load_run_clip(folder).sha256()
