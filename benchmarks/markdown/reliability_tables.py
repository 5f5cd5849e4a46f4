"""The table of hostile inputs and kills that the project survived."""

from __future__ import annotations

from pathlib import Path

from benchmarks.markdown.cells import markdown_table, not_measured_note, read_measurement

LABELS = {
    "inputs": "generated files: images, tables, archives, captions, weights, run folders",
    "kills": "`kill -9` of worker, server or both; full disk",
}
"""Suite -> what it does."""


def reliability(root: Path) -> str:
    """Return one line per slow suite: cases, kills, failed tests, seconds."""
    result = read_measurement(root, "reliability.json")
    if result is None:
        return not_measured_note("python -m benchmarks.reliability")
    lines = [
        (
            LABELS[row["suite"]],
            _count(row, "cases"),
            _count(row, "kills"),
            _count(row, "kills_in_a_write"),
            f"{row['failures']:,}",
            f"{row['seconds']:,}",
        )
        for row in result["rows"]
    ]
    header = ("what", "cases", "kills", "inside a write", "failed tests", "seconds")
    return f"{markdown_table(header, lines)}\n\n{result['device']}; commit {result['commit']}; `{result['command']}`."


def _count(row: dict[str, int], name: str) -> str:
    return f"{row[name]:,}" if name in row else "–"
