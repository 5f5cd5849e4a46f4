"""progress.jsonl of a run folder: the step reports written so far, or only those since the last look."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from cleaner.files import parse_json, read_limited, validate_regular
from cleaner.types import CleanerError

PROGRESS_FILE = "progress.jsonl"
MAX_PROGRESS_BYTES = 1_000_000_000
"""Bytes of the largest progress.jsonl that is read."""


class _Report(BaseModel):
    """One line of progress.jsonl. The file may be edited by hand or of another version: other fields are kept."""

    model_config = ConfigDict(strict=True, extra="allow")

    stage: str
    step: int
    total: int
    seconds: float
    epoch: int = 0
    losses: dict[str, float | None] = {}
    metrics: dict[str, float | None] = {}
    lr: float = 0.0
    picture: str = ""


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
        return _parse_lines(read_limited(folder / PROGRESS_FILE, MAX_PROGRESS_BYTES))
    except (OSError, CleanerError):
        return []


def read_new_progress(folder: Path, cursor: str = "") -> NewProgress:
    """Return the complete lines behind `cursor`; all of them if it is empty, invalid, or of a replaced file."""
    try:
        validate_regular(folder / PROGRESS_FILE)
        with (folder / PROGRESS_FILE).open("rb") as file:
            stat = os.fstat(file.fileno())
            inode, start = _parse_cursor(cursor)
            is_continued = inode == stat.st_ino and start <= stat.st_size
            start = start if is_continued else 0
            file.seek(start)
            content = file.read(MAX_PROGRESS_BYTES)
    except (OSError, CleanerError):
        return NewProgress([], "", False)
    end = content.rfind(b"\n") + 1  # the worker may be writing the last line
    return NewProgress(_parse_lines(content[:end]), f"{stat.st_ino}:{start + end}", is_continued)


def _parse_cursor(cursor: str) -> tuple[int, int]:
    """Return the inode and the offset of a cursor; an invalid one, which a browser may send, fits no file."""
    inode, _, offset = cursor.partition(":")
    is_valid = all(part.isascii() and part.isdigit() and len(part) < 30 for part in (inode, offset))
    return (int(inode), int(offset)) if is_valid else (-1, 0)


def _parse_lines(content: bytes) -> list[dict[str, Any]]:
    """Return the valid reports, all with `losses` and `metrics`; a number there that is not finite is left out."""
    reports = []
    for line in content.decode("utf-8", errors="replace").split("\n"):
        try:
            report = parse_json(line)
            _Report.model_validate(report)
        except (ValueError, RecursionError):  # pydantic's ValidationError is a ValueError
            continue
        for name in ("losses", "metrics"):
            report[name] = {key: value for key, value in report.get(name, {}).items() if value is not None}
        reports.append(report)
    return reports
