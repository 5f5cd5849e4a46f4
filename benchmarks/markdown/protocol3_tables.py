"""Tables of protocol 3: how much of the plan is measured, and the curves of attacks with enough complete seeds."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from benchmarks.json_lines import read_json_lines
from benchmarks.markdown.cells import Row, format_number, markdown_table
from benchmarks.markdown.protocol2_claim import CUT_SHORT_NOTE, MIN_SEEDS, format_gap, format_origin, mean_interval
from benchmarks.protocol3.judge import Curve, bound_asr, budgets, defender_asr, paired_gaps, read_curves
from benchmarks.protocol3.plan import ROWS_PATH, Cell, list_groups, read_plan, select_complete, select_most

COMMAND = "python -m benchmarks.protocol3"
BASELINES = ("cleanclip", "cleanclip_short K 100 %")
"""CleanCLIP and the control."""
SHOWN_BUDGETS = (0.005, 0.01, 0.02, 0.05)


@dataclass(frozen=True)
class Group:
    """The planned cells of one arm, attack and seed, and the rows that count."""

    cells: Sequence[Cell]
    rows: Sequence[Row]

    @property
    def is_complete(self) -> bool:
        """Whether one processor measured every cell."""
        return len(self.rows) == len(self.cells)


def protocol3(root: Path) -> str:
    """Return how much of each arm is measured, then one table per arm and attack with enough complete seeds."""
    rows = read_json_lines(root / "benchmarks" / "results" / ROWS_PATH.name)
    arms = {arm: [_read_group(cells, rows) for cells in list_groups(arm)] for arm in read_plan()["arms"]}
    lines = [
        (
            f"`{arm}`: {read_plan()['arms'][arm]['question']}",
            f"{sum(len(group.rows) for group in groups):,} of {sum(len(group.cells) for group in groups):,}",
            f"{sum(group.is_complete for group in groups)} of {len(groups)}",
        )
        for arm, groups in arms.items()
    ]
    progress = markdown_table(("arm", "cells measured", "complete seeds"), lines)
    curves = [table for arm, groups in arms.items() for table in _list_curve_tables(arm, groups)]
    note = f"A seed of one attack is complete once one processor measured all of its cells. `{COMMAND}`."
    return "\n\n".join([progress, note, *curves, *([_explain()] if curves else [])])


def _read_group(cells: Sequence[Cell], rows: Sequence[Row]) -> Group:
    keys = {cell.key for cell in cells}
    of_arm = [row for row in rows if row["phase"] == cells[0].arm]
    found = select_complete(keys, of_arm) or select_most(keys, of_arm)
    return Group(cells, list({row["key"]: row for row in found}.values()))


def _list_curve_tables(arm: str, groups: Sequence[Group]) -> Iterator[str]:
    """Yield a table of each attack with `MIN_SEEDS` complete seeds."""
    for attack in dict.fromkeys(group.cells[0].attack for group in groups):
        of_attack = [group for group in groups if group.cells[0].attack == attack]
        complete = [group for group in of_attack if group.is_complete]
        if len(complete) >= MIN_SEEDS:
            rows = [row for group in complete for row in group.rows]
            origin = format_origin([{**row, "processor": literal_eval(row["processor"])} for row in rows], COMMAND)
            title = f"**`{arm}`, `{attack}`: {len(complete)} of {len(of_attack)} seeds**"
            yield f"{title}\n\n{_format_curves(read_curves(rows))}\n\n{origin}"


def _format_curves(curves: Sequence[Curve]) -> str:
    """Return one line per share of short captions and method: areas, gaps, and ASR@1 at several budgets."""
    lines = []
    for share, method in dict.fromkeys((curve.short_captions, curve.method) for curve in curves):
        of_share = [curve for curve in curves if curve.short_captions == share]
        found = [curve for curve in of_share if curve.method == method]
        gaps = (
            "" if method == other else format_gap(paired_gaps(of_share, method, other, defender_asr))
            for other in BASELINES
        )
        asr = (
            format_number(fmean(defender_asr(curve.settings, curve.undefended, budget) for curve in found))
            for budget in SHOWN_BUDGETS
        )
        name = f"`{method}`" + " ‡" * any(curve.ends_open(budgets()[-1]) for curve in found)
        areas = (_format_mean([curve.area(rule) for curve in found]) for rule in (defender_asr, bound_asr))
        lines.append((f"{100 * share:g}%", name, *areas, *gaps, *asr))
    header = ("short captions", "defense", "area", "bound", "gap to CleanCLIP", "gap to control")
    return markdown_table((*header, *(f"{100 * budget:g} points" for budget in SHOWN_BUDGETS)), lines)


def _format_mean(values: Sequence[float]) -> str:
    """Return "0.520 [0.440, 0.600]": the mean of shares with its 95% interval over seeds."""
    low, high = mean_interval(values) or (values[0], values[0])
    return f"{fmean(values):.3f} [{max(low, 0):.3f}, {min(high, 1):.3f}]"


def _explain() -> str:
    low, *_, high = budgets()
    return (
        f"Area: mean ASR@1 over budgets of {100 * low:g} to {100 * high:g} points of validation accuracy, spaced "
        "evenly in log(budget), at the largest rate within the budget; bound: at the best rate within it, which no "
        "defender can pick out without the trigger. Mean [95% interval over seeds]. Gaps: area minus that of the other "
        f"method, paired by seed; below zero is better. Then the mean ASR@1 at single budgets. ‡: {CUT_SHORT_NOTE}."
    )
