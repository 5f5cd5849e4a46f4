"""Table of benchmarks/views.py: what gentler views and frozen BatchNorm cost and remove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import views
from benchmarks.markdown.cells import Row, format_number, markdown_table
from benchmarks.markdown.protocol2_claim import CUT_SHORT_NOTE, format_origin
from benchmarks.protocol2 import rule
from benchmarks.protocol2.records import results_path
from benchmarks.protocol2.summary import Cell, at_equal_accuracy, find_cut_short, select_cells
from cleaner.files import read_json_lines
from cleaner.reports import claim

COMMAND = "python -m benchmarks.views"
HEADER = ("method", "views", "BatchNorm", "points lost at best", "rate", "CF", "ASR@1", "at 2 points", "at 5 points")


def gentler_views(root: Path) -> str:
    """Return one line per method and variant, whose five rates are measured: its cheapest rate, and equal accuracy."""
    folder = root / "benchmarks" / "results"
    rows = read_json_lines(folder / views.PATH.name)
    protocol_rows = read_json_lines(folder / results_path(views.MODEL).name)
    trials = views.list_trials(protocol_rows)
    suspect = trials[0][0].suspect
    protocol_cells = [Cell(replace(cell.task, has_followups=False), cell.row) for cell in select_cells(protocol_rows)]
    before = next(cell for cell in protocol_cells if cell.task == suspect)
    lines, used = [], list[Row]()
    for method, variants in views.VARIANTS.items():
        tasks = {task for task, _ in trials if task.method == method}
        for variant in (views.Variant(), *variants):
            cells = select_cells(row for row in rows if views.read_variant(row) == variant)
            curve = [cell for cell in (cells if variant in variants else protocol_cells) if cell.task in tasks]
            if len(curve) == len(tasks):
                name, batch_norm = claim.name_method(curve[0].row), "frozen" if variant.freeze_bn else "live"
                lines.append((f"`{name}`", variant.augmentation, batch_norm, *_summarize(before, curve)))
                used += [cell.row for cell in curve]
    caption = (
        f"`{views.MODEL}`, `{views.ATTACK}`, target {suspect.target}, seed {suspect.seed}, five rates each. Points of "
        "validation accuracy lost at the most accurate rate, with CF and ASR@1 there; then ASR@1 at equal accuracy. †: "
        f"the model stays as it is; ‡: {CUT_SHORT_NOTE}. Measured after the tables above were seen, and chooses "
        f"nothing. {format_origin(used, COMMAND)}"
    )
    return f"{markdown_table(HEADER, lines)}\n\n{caption}"


def _summarize(before: Cell, curve: Sequence[Cell]) -> tuple[str, ...]:
    """Return the columns after BatchNorm: the most accurate rate, and the lowest ASR@1 within each budget."""
    best = min(curve, key=lambda cell: cell.loss)
    metrics = (best.metric("counterfactual_accuracy"), best.metric("asr"))
    at_budgets = []
    for budget in (rule.BUDGET, rule.WIDE_BUDGET):
        (by_seed,) = at_equal_accuracy([before, *curve], budget).values()
        asr = by_seed[best.task.seed]
        mark = " †" * (asr == before.metric("asr")) or " ‡" * bool(find_cut_short(curve, budget))
        at_budgets.append(format_number(asr) + mark)
    return (f"{100 * best.loss:.1f}", f"{best.task.lr:g}", *map(format_number, metrics), *at_budgets)
