"""Tables of the claim of protocol 2: ASR at equal accuracy with paired gaps, and the learning rates behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from benchmarks.markdown.cells import (
    Row,
    describe_text_versions,
    format_mean_range,
    join_unique,
    markdown_table,
)
from benchmarks.protocol2 import plan, rule
from benchmarks.protocol2.lines import COPY_NOTE
from benchmarks.protocol2.summary import (
    Cell,
    at_equal_accuracy,
    by_method,
    drop_open_curves,
    find_cut_short,
    main_cells,
    select,
    undefended_asr,
)
from benchmarks.protocol2.tasks import Methods, Task

COMMAND = "python -m benchmarks.attack_defense --protocol 2"
BASELINE = "cleanclip"
CUT_SHORT_NOTE = "the largest learning rate of the grid loses no more than that, so a larger one might leave less"
MIN_SEEDS = 3
"""Seeds from which on a gap gets an interval: that of two is wider than all values that a gap can have."""


def list_attacks(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """Return the (attack, target) pairs of the plain cells, in order."""
    plain = select(cells, world="scenes", is_aware=False)
    return list(dict.fromkeys((cell.task.attack, cell.task.target) for cell in plain))


def format_equal_accuracy(model: str, cells: Sequence[Cell], rows: Sequence[Row], methods: Methods) -> str:
    """Return ASR@1 at a validation loss of 2 and 5 points, with gaps to CleanCLIP and to the control."""
    tables, shown = [], []
    for attack, target in list_attacks(cells):
        plain = drop_open_curves(main_cells(cells, attack, target), rows, methods.curves)
        if not any(
            cell.task.method and len({c.task.lr for c in plain if c.task.method == cell.task.method}) > 1
            for cell in plain
        ):
            continue
        tables.append(f"**`{model}`, `{attack}`, target {target}**\n\n{format_gaps(plain)}")
        shown += [cell.row for cell in plain]
    if not tables:
        return ""
    caption = (
        "The lowest ASR@1 on test images at a validation loss of 2 or 5 points or less, interpolated between "
        "neighboring learning rates: mean [minimum, maximum] over seeds. †: on so many seeds no rate within the loss "
        f"is better than the backdoored model; ‡: on so many {CUT_SHORT_NOTE}. Gaps: ASR minus that of the other "
        f"method, paired by seed, mean [95% interval over seeds, from {MIN_SEEDS} on]; below zero is better. The "
        f"control is `{plan.CONTROL}`, for TA-Cleaner with K 10% `{plan.SPARSE_CONTROL}`. {format_origin(shown)}"
    )
    return "\n\n".join([*tables, caption])


def find_control(method: str) -> str:
    """Return the control of a method: for TA-Cleaner the one with the same K, else the one with K 100%."""
    return plan.SPARSE_CONTROL if method == plan.SPARSE_METHOD else plan.CONTROL


def format_gaps(cells: Sequence[Cell]) -> str:
    """Return ASR@1 within both budgets, with the gaps to CleanCLIP and the control; one line per method."""
    groups = by_method(cell for cell in cells if cell.task.method)
    found = {budget: at_equal_accuracy(cells, budget) for budget in (rule.BUDGET, rule.WIDE_BUDGET)}
    cut_short = {budget: find_cut_short(cells, budget) for budget in found}
    seeds = {seed for values in found[rule.BUDGET].values() for seed in values}
    before = undefended_asr(cell for cell in cells if cell.task.seed in seeds)
    lines = [("none (backdoored)", str(len(before)), *(format_mean_range(before.values()), "", "") * len(found))]
    for name, group in groups.items():
        own, others = undefended_asr(cells, group), (BASELINE, find_control(group[0].task.method))
        columns: list[str] = []
        for budget, by_name in found.items():
            values = by_name[name]
            stays = sum(asr == own[seed] for seed, asr in values.items())
            open_ends = sum((name, seed) in cut_short[budget] for seed in values)
            marks = "".join(f" {sign} {count}" for sign, count in (("†", stays), ("‡", open_ends)) if count)
            gaps = (format_gap(paired_gaps(by_name.get(o, {}), values)) if o != name else "" for o in others)
            columns += [format_mean_range(values.values()) + marks, *gaps]
        lines.append((f"`{name}`", str(len(found[rule.BUDGET][name])), *columns))
    titles = ("ASR@1", "gap to CleanCLIP", "gap to control")
    header = (f"{title}, {100 * budget:g} points" for budget in found for title in titles)
    return markdown_table(("defense", "seeds", *header), lines)


def paired_gaps(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    """Return seed -> second - first, for the seeds that both have."""
    return {seed: second[seed] - first[seed] for seed in sorted(first.keys() & second.keys())}


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95% interval of the mean over seeds (Student's t); None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy import stats  # takes a second to load

    center = fmean(values)
    margin = float(stats.t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return center - margin, center + margin


def format_gap(gaps: Mapping[int, float]) -> str:
    """Return "-0.52 [-0.60, -0.44]", without the interval for fewer than `MIN_SEEDS`. A gap of shares ends at 1."""
    if not gaps:
        return "-"
    values = list(gaps.values())
    interval = mean_interval(values) if len(values) >= MIN_SEEDS else None
    bounds = "" if interval is None else f" [{max(interval[0], -1):+.3f}, {min(interval[1], 1):+.3f}]"
    return f"{fmean(values):+.3f}{bounds}"


def format_rates(model: str, cells: Sequence[Cell], rows: Sequence[Row], methods: Methods) -> str:
    """Return validation accuracy lost over the learning rates, and what the rule chose."""
    trials = [row for row in rows if row["task"]["kind"] == "grid" and row["task"]["method"]]
    keys = dict.fromkeys((row["task"]["method"], row["task"]["form"]) for row in trials)
    grid = sorted(rule.GRID, reverse=True)
    lines = []
    for method, form in keys:
        losses = {
            row["task"]["lr"]: "diverged" if row["ca"] is None else f"{100 * (row['backdoored_ca'] - row['ca']):.1f}"
            for row in trials
            if (row["task"]["method"], row["task"]["form"]) == (method, form)
        }
        choice = methods.rates.get((method, form))
        chosen = choice.lr if choice is not None else None
        texts = [f"**{losses[lr]}**" if lr == chosen else losses.get(lr, "-") for lr in grid]
        shown = (
            form if plan.METHODS[method].method == "ta_cleaner" else form.rpartition(", ")[2]
        )  # the control has no formula
        lines.append((f"`{method}`" + (f" ({shown})" if form else ""), *texts))
    table = markdown_table(("points lost at", *(f"{lr:g}" for lr in grid)), lines)
    untried = "-: not tried, because a larger rate met the budget. " * any("-" in line for line in lines)
    note = (
        f"Validation accuracy lost against the badnet model of seed {plan.GRID_SEED}, {plan.STEPS} steps. Bold: "
        f"chosen. {untried}Form of TA-Cleaner that was chosen: {methods.form}. {format_origin(trials)}"
    )
    return f"**`{model}`**\n\n{table}\n\n{note}"


def format_mark(task: Task, methods: Methods) -> str:
    """Return the dagger of a method without an affordable rate, else ""."""
    choice = methods.rates.get((task.method, task.form))
    return " †" if choice is not None and choice.lost_accuracy else ""


def format_seeds(cells: Sequence[Cell]) -> str:
    return ", ".join(map(str, sorted({cell.task.seed for cell in cells})))


def name_seeds(cells: Sequence[Cell]) -> str:
    """Return "seed 3" or "seeds 3, 4"."""
    seeds = format_seeds(cells)
    return f"seeds {seeds}" if "," in seeds else f"seed {seeds}"


def format_origin(rows: Sequence[Row], command: str = COMMAND) -> str:
    """Return processor, threads and commits of the lines of a table, the command, and what is on copies of models."""
    processors = join_unique(_describe_processor(row["processor"]) for row in rows)
    commits = join_unique(str(row.get("commit")) for row in rows)
    return f"{processors}; commit {commits}{describe_text_versions(rows)}; `{command}`.{note_copies(rows)}"


def note_copies(rows: Sequence[Row]) -> str:
    """Return a sentence on the methods that were measured on other backdoored models; "" without any."""
    names = dict.fromkeys(f"`{row['task']['method']}`" for row in rows if row.get("is_on_copy"))
    return f" {', '.join(names)}: {COPY_NOTE}." if names else ""


def _describe_processor(processor: Mapping[str, Any]) -> str:
    """Return "AMD EPYC with AVX512, 1 thread"."""
    name, kernels, threads = processor["name"], processor["kernels"], processor["threads"]
    return f"{name} with {kernels}, {threads} thread{'s' if threads > 1 else ''}"
