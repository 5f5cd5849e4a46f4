"""Result files below a root of their own, for the tables."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cleaner.files import write_json, write_text

ORIGIN = {"command": "python -m benchmarks.x", "commit": "abc", "device": "cpu, 2 cores"}


def write_result(root: Path, name: str, **content: Any) -> None:
    """Write a file of benchmarks/results."""
    write_json(root / "benchmarks" / "results" / name, ORIGIN | content)


def write_lines(root: Path, name: str, rows: Iterable[dict[str, Any]]) -> None:
    """Write a file of benchmarks/results with a row per line."""
    write_text(root / "benchmarks" / "results" / name, "".join(json.dumps(row) + "\n" for row in rows))
