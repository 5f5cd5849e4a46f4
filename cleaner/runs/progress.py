"""progress.jsonl of a run folder: the step reports written so far, or only those since the last look."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRESS_FILE = "progress.jsonl"
FIELDS = {"stage", "step", "total", "seconds"}
"""Fields of every report."""


@dataclass(frozen=True)
class NewProgress:
    """Reports that a reader has not seen yet."""

    reports: list[dict[str, Any]]
    cursor: str
    """Where the next read starts; valid until the file is replaced."""
    is_continued: bool
    """Whether the reports follow those read before; otherwise they replace them."""


def read_progress(folder: Path) -> list[dict[str, Any]]:
    """Return the step reports written so far, as dictionaries; a broken line, such as the last one, is skipped."""
    try:
        return _parse_lines((folder / PROGRESS_FILE).read_bytes())
    except OSError:
        return []


def read_new_progress(folder: Path, cursor: str = "") -> NewProgress:
    """Return the complete lines behind `cursor`; all of them if it is empty, invalid, or of a replaced file."""
    try:
        with (folder / PROGRESS_FILE).open("rb") as file:
            stat = os.fstat(file.fileno())
            inode, start = _parse_cursor(cursor)
            is_continued = inode == stat.st_ino and start <= stat.st_size
            start = start if is_continued else 0
            file.seek(start)
            content = file.read()
    except OSError:
        return NewProgress([], "", False)
    end = content.rfind(b"\n") + 1  # the worker may be writing the last line
    return NewProgress(_parse_lines(content[:end]), f"{stat.st_ino}:{start + end}", is_continued)


def _parse_cursor(cursor: str) -> tuple[int, int]:
    """Return the inode and the offset of a cursor; an invalid one, which a browser may send, fits no file."""
    inode, _, offset = cursor.partition(":")
    is_valid = all(part.isascii() and part.isdigit() and len(part) < 30 for part in (inode, offset))
    return (int(inode), int(offset)) if is_valid else (-1, 0)


def _parse_lines(content: bytes) -> list[dict[str, Any]]:
    reports = []
    for line in content.decode("utf-8", errors="replace").splitlines():
        try:
            report = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(report, dict) and report.keys() >= FIELDS:
            reports.append(report)
    return reports
