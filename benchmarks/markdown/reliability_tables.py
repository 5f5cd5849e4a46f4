"""The tables of hostile inputs and kills that the project survived, and of many sessions at once."""

from __future__ import annotations

from pathlib import Path

from benchmarks.markdown.cells import describe_origin, join_unique, markdown_table, read_measurement
from cleaner.reports.variation import describe_variation

LABELS = {
    "inputs": "generated files: images, tables, archives, captions, weights, run folders",
    "kills": "`kill -9` of worker, server or both; full disk",
}
"""Suite -> what it does."""


def reliability(root: Path) -> str:
    """Return one line per slow suite: cases, kills, failed tests, seconds."""
    result = read_measurement(root, "reliability.json")
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
    # Commit and command of the file are those of the last call, which may have counted one suite alone.
    commits = join_unique(row.get("commit", f"not recorded ({row['suite']})") for row in result["rows"])
    origin = {**result, "commit": commits, "command": "python -m benchmarks.reliability"}
    return f"{markdown_table(header, lines)}\n\n{describe_origin(origin)}"


def reliability_summary(root: Path) -> str:
    """Return cases, kills and sessions with their failures, one line each."""
    result = read_measurement(root, "reliability.json")
    counts = {row["suite"]: row for row in result["rows"]}
    lines = [
        (f"{counts[suite][unit]:,} {what}", f"{counts[suite]['failures']:,}", f"{counts[suite]['seconds']:,} s")
        for suite, unit, what in (("inputs", "cases", "generated inputs"), ("kills", "kills", "random kills"))
        if suite in counts
    ]
    for row in read_measurement(root, "sessions.json")["rows"]:
        what = f"{row['actions']:,} actions in {row['sessions']} browser sessions at once"
        lines.append((what, f"{row['failures']:,}", f"{60 * row['minutes']:,.0f} s"))
    return markdown_table(("what", "failures", "time"), lines)


def sessions(root: Path) -> str:
    """Return what was measured with many browser sessions at once."""
    result = read_measurement(root, "sessions.json")
    (row,) = result["rows"]
    pause, growth = f"{row['pause_seconds']:g}", row["server_mb_end"] / row["server_mb_half"] - 1
    lines = [
        ("sessions, minutes", f"{row['sessions']} for {row['minutes']:g} minutes, an action every {pause} s"),
        ("actions; failures", f"{row['actions']:,}; {row['failures']:,}"),
        ("until a page is drawn", f"{row['median_page_seconds']} s (median), {row['slow_page_seconds']} s (95%)"),
        ("until a control has acted", f"{row['median_control_seconds']} s (median)"),
        (
            "memory of the server",
            f"{row['server_mb_start']:,} MB at the start, {row['server_mb_half']:,} MB after half of the time, "
            f"{row['server_mb_end']:,} MB at the end ({growth:+.0%} in the second half)",
        ),
        ("shared models; changed", f"{row['models']}; {row['models_changed']}"),
        ("runs that trained at once", f"{row['trainings_at_once']}"),
    ]
    return f"{markdown_table(('what', 'measured'), lines)}\n\n{describe_origin(result)}"


def variation(root: Path) -> str:
    """Return how far figures vary by seed and by processor."""
    return describe_variation(root / "benchmarks" / "results")


def _count(row: dict[str, int], name: str) -> str:
    return f"{row[name]:,}" if name in row else "–"
