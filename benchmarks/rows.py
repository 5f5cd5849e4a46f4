"""Rows of a result file: each is written when it is measured, so that a second call measures only what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmarks import protocol
from benchmarks.markdown.cells import Row
from benchmarks.tasks import lock_path


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a result file; empty if there is none. A file that cannot be read must not be replaced."""
    return list(json.loads(path.read_text(encoding="utf-8"))["rows"]) if path.exists() else []


def add_row(path: Path, row: Row, order: Callable[[Row], Any] = lambda _: 0, **fields: Any) -> None:
    """Add a row to a result file, which other processes may do at the same time."""
    with FileLock(lock_path(path, "append")):
        rows = sorted([*read_rows(path), row], key=order)
        protocol.write_result(path, seeds=sorted({row["seed"] for row in rows}), **fields, rows=rows)
