"""Tables of the claim of protocol 2: ASR at equal accuracy with paired gaps, and the learning rates behind it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from benchmarks.markdown.cells import (
    Row,
    describe_text_versions,
    format_number,
    join_unique,
    markdown_table,
    mean,
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
    """Return ASR@1 at a validation loss of 2 and 5 points, each seed, with gaps to CleanCLIP and to the control."""
    tables, shown = [], []
    for attack, target in list_attacks(cells):
        plain = drop_open_curves(main_cells(cells, attack, target), rows, methods.curves)
        if not any(
            cell.task.method and len({c.task.lr for c in plain if c.task.method == cell.task.method}) > 1
            for cell in plain
        ):
            continue
        for budget in (rule.BUDGET, rule.WIDE_BUDGET):
            found = at_equal_accuracy(plain, budget)
            title = f"**`{model}`, `{attack}`, target {target}: ASR@1 at {100 * budget:g} points of accuracy**"
            tables.append(f"{title}\n\n{format_gaps(plain, found, find_cut_short(plain, budget))}")
        shown += [cell.row for cell in plain]
    if not tables:
        return ""
    caption = (
        "The lowest ASR@1 on test images at this loss of validation accuracy or less, interpolated between neighboring "
        "learning rates; †: that of the backdoored model, because no learning rate within that loss is better; "
        f"‡: {CUT_SHORT_NOTE}. Gaps: ASR minus that of the other method, paired by seed, mean [95% interval over "
        f"seeds, from {MIN_SEEDS} on]; below zero is better. The control is `{plan.CONTROL}`, for TA-Cleaner with K "
        f"10% `{plan.SPARSE_CONTROL}`. {format_origin(shown)}"
    )
    return "\n\n".join([*tables, caption])


def find_control(method: str) -> str:
    """Return the control of a method: for TA-Cleaner the one with the same K, else the one with K 100%."""
    return plan.SPARSE_CONTROL if method == plan.SPARSE_METHOD else plan.CONTROL


def format_gaps(
    cells: Sequence[Cell], found: Mapping[str, Mapping[int, float]], cut_short: Collection[tuple[str, int]]
) -> str:
    """Return the table of what `at_equal_accuracy` found, with each seed and the gaps to CleanCLIP and the control."""
    seeds = sorted({seed for values in found.values() for seed in values})
    before = undefended_asr(cell for cell in cells if cell.task.seed in seeds)
    groups = by_method(cell for cell in cells if cell.task.method)
    header = ("defense", *(f"seed {seed}" for seed in seeds), "mean", "gap to CleanCLIP", "gap to control")
    lines = [("none (backdoored)", *(format_number(before.get(seed)) for seed in seeds), _mean(before), "", "")]
    for name, values in found.items():
        gaps = [
            format_gap(paired_gaps(found.get(other, {}), values)) if other != name else ""
            for other in (BASELINE, find_control(groups[name][0].task.method))
        ]
        own = undefended_asr(cells, groups[name])
        marks = {seed: " †" * (values.get(seed) == own[seed]) or " ‡" * ((name, seed) in cut_short) for seed in seeds}
        by_seed = [format_number(values.get(seed)) + marks[seed] for seed in seeds]
        lines.append((f"`{name}`", *by_seed, _mean(values), *gaps))
    return markdown_table(header, lines)


def _mean(values: Mapping[int, float | None]) -> str:
    return format_number(mean([value for value in values.values() if value is not None]))


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
