"""Tables of benchmarks/views.py: what gentler views, frozen BatchNorm and shorter captions cost and remove."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import views
from benchmarks.json_lines import read_json_lines
from benchmarks.markdown.cells import Row, format_number, markdown_table, mean
from benchmarks.markdown.protocol2_claim import (
    BASELINE,
    CUT_SHORT_NOTE,
    format_gap,
    format_gaps,
    format_origin,
    format_seeds,
    paired_gaps,
)
from benchmarks.protocol2 import rule
from benchmarks.protocol2.records import results_path
from benchmarks.protocol2.summary import (
    Cell,
    at_equal_accuracy,
    by_method,
    drop_open_curves,
    find_cut_short,
    select_cells,
)
from benchmarks.protocol2.tasks import Task
from benchmarks.rows import group_by_suspect

COMMAND = "python -m benchmarks.views"
GAP_BUDGETS = (0.0075, 0.01, 0.015, 0.02, 0.03)
FULL_NAME = "ta_cleaner K 100 %, formula reviewed"
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
        tasks = {task for task, variant in trials if task.method == method and variant in variants}
        for variant in (views.Variant(), *variants):
            cells = select_cells(row for row in rows if views.read_variant(row) == variant)
            curve = [cell for cell in (cells if variant in variants else protocol_cells) if cell.task in tasks]
            if len(curve) == len(tasks):
                name, batch_norm = curve[0].variant.key, "frozen" if variant.freeze_bn else "live"
                lines.append((f"`{name}`", variant.augmentation, batch_norm, *_summarize(before, curve)))
                used += [cell.row for cell in curve]
    caption = (
        f"`{views.MODEL}`, `{views.ATTACK}`, target {suspect.target}, seed {suspect.seed}, five rates each. Points of "
        "validation accuracy lost at the most accurate rate, with CF and ASR@1 there; then ASR@1 at equal accuracy. †: "
        f"the model stays as it is; ‡: {CUT_SHORT_NOTE}. Measured after the tables above were seen, and chooses "
        f"nothing. {format_origin(used, COMMAND)}"
    )
    return f"{markdown_table(HEADER, lines)}\n\n{caption}"


def mixed_captions(root: Path) -> str:
    """Return each method on mixed captions: points lost and ASR@1 at each rate, then ASR@1 at equal accuracy."""
    cells = select_mixed_cells(root)
    header = ("defense", "seeds", *(f"{lr:g}" for lr in views.MIXED_RATES))
    table = [
        (f"`{name}`", format_seeds(curve), *(_format_rate(curve, lr) for lr in views.MIXED_RATES))
        for name, curve in by_method(cell for cell in cells if cell.task.method).items()
    ]
    caption = (
        f"`{views.MODEL}`, `{views.ATTACK}`, target {cells[0].task.target}, mixed captions. First table: points of "
        "validation accuracy lost / ASR@1 at each learning rate, means over the seeds. Second: ASR@1 of TA-Cleaner "
        "with K 100% minus CleanCLIP's; below zero is better. Third, with its marks and gaps, as the main tables. "
        "Measured after these were seen, and chooses nothing. "
        f"{format_origin([cell.row for cell in cells], COMMAND)}{_note_processors(cells)}"
    )
    return "\n\n".join([markdown_table(header, table), _format_budgets(cells), format_gaps(cells), caption])


def _format_budgets(cells: Sequence[Cell]) -> str:
    """Return the gap of TA-Cleaner with K 100% to CleanCLIP at several losses of accuracy."""
    found = {budget: at_equal_accuracy(cells, budget) for budget in GAP_BUDGETS}
    gaps = [format_gap(paired_gaps(by_name[BASELINE], by_name[FULL_NAME])) for by_name in found.values()]
    header = ("points of accuracy lost", *(f"{100 * budget:g}" for budget in found))
    return markdown_table(header, [("gap to CleanCLIP", *gaps)])


def select_mixed_cells(root: Path) -> list[Cell]:
    """Return the cells on mixed captions, of the methods and seeds for which all rates are measured.

    Those of a seed share the weights of the backdoored model, but, unlike the protocol's, not always the processor.
    """
    lines = read_json_lines(root / "benchmarks" / "results" / views.PATH.name)
    rows = [row for row in lines if views.read_variant(row) == views.MIXED]
    rows = [row for by_hash in group_by_suspect(rows).values() for row in max(by_hash.values(), key=len)]
    cells = [Cell(Task(**row["task"]), row) for row in rows if row["metrics"]]
    methods = {(row["task"]["method"], row["task"]["form"]) for row in rows}
    return drop_open_curves(cells, rows, dict.fromkeys(methods, views.MIXED_RATES), on_one_processor=False)


def _note_processors(cells: Sequence[Cell]) -> str:
    """Return a sentence on the methods that were measured on another processor than most cells; "" without any."""
    usual = Counter(str(cell.row["processor"]) for cell in cells).most_common(1)[0][0]
    names = by_method(cell for cell in cells if cell.task.method and str(cell.row["processor"]) != usual)
    listed = ", ".join(f"`{name}`" for name in names)
    return f" In whole or in part on another processor, from the same backdoored weights: {listed}." if names else ""


def _format_rate(curve: Sequence[Cell], lr: float) -> str:
    cells = [cell for cell in curve if cell.task.lr == lr]
    asr = mean([value for cell in cells if (value := cell.metric("asr")) is not None])
    lost = mean([100 * cell.loss for cell in cells if cell.row["metrics"]])
    return "diverged" if lost is None else f"{round(lost, 1) + 0:.1f} / {format_number(asr)}"  # no "-0.0"


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
