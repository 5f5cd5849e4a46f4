"""The tables of the third protocol, from made-up rows of the whole plan whose areas are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.markdown.protocol3_tables import protocol3
from benchmarks.protocol3.plan import ROWS_PATH, Cell, hash_plan, list_groups, read_plan
from tests.benchmarks.result_files import write_lines

pytestmark = pytest.mark.quick

PROCESSOR = "{'name': 'A', 'kernels': 'AVX2', 'threads': 1}"
LEFT = {"cleanclip": 0.8, "cleanclip_short K 100 %": 0.1}
"""Method -> ASR@1 at every rate but the largest; 0.5 for the others."""
CELLS = [cell for arm in read_plan()["arms"] for group in list_groups(arm) for cell in group]


def make_row(cell: Cell) -> dict[str, Any]:
    """Return a row: every rate is affordable but the largest, which diverged. Later seeds leave a little more."""
    is_largest = cell.lr == max(read_plan()["grid"]["rates"])
    asr = LEFT.get(cell.method, 0.5) + 0.01 * (cell.seed - 11) if cell.method else 1.0
    return {
        "phase": cell.arm,
        "key": cell.key,
        "plan": hash_plan(),
        "processor": PROCESSOR,
        "commit": "abc",
        "trigger": cell.attack,
        "seed": cell.seed,
        "short_captions": cell.short_captions,
        "method": cell.method,
        "lr": cell.lr,
        "validation_ca": None if is_largest else 0.97,
        "metrics": None if is_largest else {"asr": {"1": asr}},
    }


def write(root: Path, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> str:
    """Return the tables of the changed rows, without those that became None."""
    rows = [row for cell in CELLS if (row := change(make_row(cell))) is not None]
    write_lines(root, ROWS_PATH.name, rows)
    return protocol3(root)


def find_line(text: str, title: str, method: str) -> str:
    """Return the first line of a method in the table with this title."""
    return next(line for line in text.partition(title)[2].splitlines() if f"| `{method}` |" in line)


def test_a_whole_plan_has_the_known_areas_with_intervals_and_paired_gaps(tmp_path: Path) -> None:
    text = write(tmp_path, lambda row: row)
    assert f"| {len(list(list_groups('main'))) * 43} of 860 | 20 of 20 |" in text
    line = find_line(text, "**`main`, `badclip`: 10 of 10 seeds**", "cleanclip_short K 100 %")
    # Ten seeds 0.01 apart around 0.145: half an interval is t(9) * 0.01 * sqrt(55 / 6 / 10) = 0.0217.
    assert "| 0.145 [0.123, 0.167] | 0.145 [0.123, 0.167] | -0.700 [-0.700, -0.700] |  |" in line
    assert line.startswith("| 8% |")
    assert find_line(text, "**`dose`, `badclip`: 3 of 3 seeds**", "cleanclip").startswith("| 0% |")
    assert "‡ |" not in text


def test_rows_of_another_plan_or_processor_complete_no_seed(tmp_path: Path) -> None:
    for name, value in (("plan", "older"), ("processor", PROCESSOR.replace("AVX2", "AVX512"))):
        text = write(
            tmp_path,
            lambda row, name=name, value=value: (  # type: ignore[misc]
                {**row, name: value} if (row["seed"], row["method"]) == (11, "par") else row
            ),
        )
        assert "| 848 of 860 | 18 of 20 |" in text
        assert "**`main`, `badnet`: 9 of 10 seeds**" in text


def test_until_three_seeds_are_complete_only_the_progress_is_shown(tmp_path: Path) -> None:
    text = write(tmp_path, lambda row: row if row["seed"] in (11, 12) else None)
    assert "| 172 of 860 | 4 of 20 |" in text
    assert "area" not in text.lower()
    assert "cleanclip" not in text


def test_a_curve_that_ends_with_the_grid_is_marked(tmp_path: Path) -> None:
    def end_open(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "validation_ca": 0.97, "metrics": {"asr": {"1": 0.5}}} if row["method"] == "finetune" else row

    text = write(tmp_path, end_open)
    assert "| `finetune` ‡ |" in text
    assert "| `cleanclip` ‡ |" not in text
