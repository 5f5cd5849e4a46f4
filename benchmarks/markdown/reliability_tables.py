"""The tables of hostile inputs and kills that the project survived, and of many sessions at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.json_lines import read_json_lines
from benchmarks.markdown.cells import describe_origin, join_unique, markdown_table, read_measurement
from benchmarks.protocol2 import plan
from benchmarks.protocol2.records import results_path
from benchmarks.protocol2.summary import Cell
from benchmarks.protocol2.tasks import Task
from cleaner.reports.reference import read_reference

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


def sessions(root: Path) -> str:
    """Return what was measured with many browser sessions at once."""
    result = read_measurement(root, "sessions.json")
    (row,) = result["rows"]
    pause, growth = f"{row['pause_seconds']:g}", row["server_mb_end"] / row["server_mb_half"] - 1
    lines = [
        ("sessions, minutes", f"{row['sessions']} for {row['minutes']:g} minutes, an action every {pause} s"),
        ("actions; failures", f"{row['actions']:,}; {row['failures']:,}"),
        (
            "until a page is drawn; a control has acted",
            f"{row['median_page_seconds']} s (median), {row['slow_page_seconds']} s (95%); "
            f"{row['median_control_seconds']} s (median)",
        ),
        (
            "memory of the server",
            f"{row['server_mb_start']:,} MB at the start, {row['server_mb_half']:,} MB after half of the time, "
            f"{row['server_mb_end']:,} MB at the end ({growth:+.0%} in the second half)",
        ),
    ]
    return f"{markdown_table(('what', 'measured'), lines)}\n\n{describe_origin(result)}"


def variation(root: Path) -> str:
    """Return how far figures vary by seed and by processor."""
    return read_reference(root / "assets" / "reference.json").variation


def protocol2_processors(root: Path) -> str:
    """Return how far the same defended models of the second protocol differ between processors."""
    path = root / "benchmarks" / "results" / results_path(next(iter(plan.MODELS))).name
    same: dict[Task, dict[str, Cell]] = {}
    for row in read_json_lines(path):
        task, processor = Task(**row["task"]), row["processor"]
        if task.method and row.get("metrics"):
            maker = processor["name"].split()[0].removesuffix("(R)")
            same.setdefault(task, {})[f"{maker} with {processor['kernels']}"] = Cell(task, row)
    repeated = {task: list(cells.values()) for task, cells in same.items() if len(cells) > 1}
    counts = " or ".join(map(str, sorted({len(cells) for cells in repeated.values()})))
    kinds = sorted({kind for task in repeated for kind in same[task]})
    spreads = {name: [_spread(cells, name) for cells in repeated.values()] for name in ("asr", "ca")}
    removed = [
        _spread(cells, "asr")
        for task, cells in repeated.items()
        if task.attack == "badclip" and task.method in (plan.FULL_METHOD, plan.CONTROL)
    ]
    return (
        f"Of the second protocol, {len(repeated)} defended models were measured on {counts} of {len(kinds)} kinds of "
        f"processor ({', '.join(kinds)}), each against a model backdoored there. ASR@1 differs by a median of "
        f"{median(spreads['asr']):.1f} points and at most {max(spreads['asr']):.1f}, clean accuracy by "
        f"{median(spreads['ca']):.1f} and {max(spreads['ca']):.1f}. Of BadCLIP after TA-Cleaner or the control with K "
        f"100% ({len(removed)} models) ASR@1 differs by {min(removed):.1f} to {max(removed):.1f} points, with a median "
        f"of {median(removed):.1f}."
    )


def _spread(cells: Sequence[Cell], metric: str) -> float:
    """Return the range of a metric in points."""
    values = [100 * value for cell in cells if (value := cell.metric(metric)) is not None]
    return max(values) - min(values)


def _count(row: dict[str, int], name: str) -> str:
    return f"{row[name]:,}" if name in row else "–"
