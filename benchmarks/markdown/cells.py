"""Rows of result files and cells of Markdown tables."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read_result(path: Path) -> dict[str, Any]:
    """Return a JSON file."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def read_measurement(root: Path, name: str) -> dict[str, Any]:
    """Return a file of benchmarks/results."""
    return read_result(root / "benchmarks" / "results" / name)


def describe_origin(result: dict[str, Any]) -> str:
    """Return device, commit and command of a measurement."""
    return f"{result['device']}; commit {result['commit']}; `{result['command']}`."


def describe_origins(rows: Sequence[Row]) -> str:
    """Return the devices and commits that rows state; a call measures only what is missing."""
    devices, commits = (join_unique(row[name] for row in rows) for name in ("device", "commit"))
    return f"{devices}; commit {commits}{describe_text_versions(rows)}"


def describe_text_versions(rows: Sequence[Row]) -> str:
    """Return the text versions of the rows that were trained on subtexts, after a semicolon; "" without such rows."""
    drawn = [row for row in rows if (row.get("config", {}).get("defense") or {}).get("share")]
    versions = join_unique(str(row.get("text_version") or "not recorded") for row in drawn)
    return f"; text version {versions}" if versions else ""


def group_rows(rows: Sequence[Row], *names: str) -> list[list[Row]]:
    """Return the rows that share the values of these fields, in order of appearance."""
    keys = dict.fromkeys(tuple(row.get(name) for name in names) for row in rows)
    return [[row for row in rows if tuple(row.get(name) for name in names) == key] for key in keys]


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *lines])


def method_label(name: str | None, *, marked: bool = False) -> str:
    """Return the label of a method's line, with a dagger if marked."""
    return (name or "none (backdoored)") + (" †" if marked else "")


def format_number(value: float | None, digits: int = 3) -> str:
    """Return a number, or "-" for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def format_mean_range(
    values: Iterable[float | None], interval: tuple[float, float] | None = None, *, form: str = "{:.3f}"
) -> str:
    """Return "mean [low, high]": the interval of a single value, else minimum and maximum; "-" for no values.

    A single value without an interval stands alone. None is a value that was not measured.
    """
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    low, high = interval or (min(known), max(known))
    mean, low_text, high_text = map(form.format, (statistics.fmean(known), low, high))
    return mean if len(known) == 1 and interval is None else f"{mean} [{low_text}, {high_text}]"


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, or None for no values."""
    return statistics.fmean(values) if values else None


def join_unique(texts: Iterable[str]) -> str:
    """Return the distinct texts in order, joined by slashes."""
    return " / ".join(dict.fromkeys(texts))
