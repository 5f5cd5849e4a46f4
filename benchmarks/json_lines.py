"""Result files with one JSON object a line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from cleaner.files import parse_json


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects in a file of JSON lines, without a line that was cut off; empty if it is missing."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with suppress(ValueError, RecursionError):
            rows.append(parse_json(line))
    return [row for row in rows if isinstance(row, dict)]
