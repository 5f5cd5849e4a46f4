"""Table of the triggers in the text and the input-aware one: each attack before and after each defense."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from benchmarks import siglip as benchmark
from benchmarks.markdown.captions import describe_poisoning, describe_protocol, describe_seeds
from benchmarks.markdown.cells import (
    Row,
    describe_origins,
    group_rows,
    join_unique,
    markdown_table,
    method_label,
    read_measurement,
)
from benchmarks.markdown.comparison import format_metrics
from benchmarks.tasks import TaskFile
from cleaner.evaluation.result import METRICS
from cleaner.labels import FULL_CAPTIONS
from cleaner.reports import results

COLUMNS = ("attack", "defense", "CA", "CF", "ASR@1", "RA", "floor", "base rate", "also")
OTHER_METRICS = (("own_recall", 1), ("own_recall", 10), ("own_recall_clean", 10), ("cross_asr", 1))
"""(metric, k) of the last column, which is left out where none is measured."""


def text_triggers(root: Path) -> str:
    """Return one row per attack and defense."""
    result = read_measurement(root, "text_triggers.json")
    return compare_quickly(result["rows"], result["command"])


def siglip(root: Path) -> str:
    """Return the same for a patch in a model with SigLIP's loss, and the trials of the attack."""
    file = TaskFile(root / "benchmarks" / "results" / benchmark.PATH.name)
    trials = (f"{t['epochs']} epochs at {t['lr']:g}: {t['ca']:.3f}, {t['asr']:.3f}" for t in file.rows("attack_trials"))
    return (
        f"{compare_quickly(benchmark.select_cells(file.rows('rows')), 'python -m benchmarks.siglip')} Attack trials, "
        f"before any defense (seed {benchmark.TRIAL_SEED}, validation split; CA, ASR@1): {'; '.join(trials)}."
    )


def compare_quickly(measured: list[Row], command: str) -> str:
    """Return the table of rows in the quick setting, of the seeds with all cells."""
    count = Counter(row["seed"] for row in measured)
    rows = [row for row in measured if count[row["seed"]] == max(count.values())]
    groups = [
        group for attack in group_rows(rows, "model", "trigger") for group in group_rows(attack, "defense", "captions")
    ]
    models = join_unique(row["model"] for row in rows)
    protocols, poisonings = (
        "; ".join(f"`{group[0]['trigger']}`: {describe(group)}" for group in group_rows(rows, "trigger"))
        for describe in (describe_protocol, describe_poisoning)
    )
    rates = join_unique(f"{label_cell(row)}: {row['config']['finetune']['lr']:g}" for row in rows if row["defense"])
    lines = [format_line(group) for group in groups]
    columns = len(COLUMNS) if any(line[-1] != "-" for line in lines) else len(COLUMNS) - 1
    return (
        f"{markdown_table(COLUMNS[:columns], [line[:columns] for line in lines])}\n\nModel `{models}`. {protocols}. "
        f"{describe_seeds(rows)}. Poisoned: {poisonings}. Learning rates: {rates.replace(' / ', '; ')}. "
        f"{describe_origins(rows)}; `{command}`."
    )


def format_line(rows: list[Row]) -> tuple[str, ...]:
    """Return the cells of one attack and defense."""
    ca, cf, asr, _, ra, floor, base_rate = format_metrics(rows)
    measured = [results.parse_row_metrics(row) for row in rows]
    others = []
    for name, k in OTHER_METRICS:
        values = [value for metrics in measured if (value := metrics.metric(name, k)) is not None]
        if values:
            others.append(f"{METRICS[name].header(k)} {sum(values) / len(values):.3f}")
    return (f"`{rows[0]['trigger']}`", label_cell(rows[0]), ca, cf, asr, ra, floor, base_rate, ", ".join(others) or "-")


def label_cell(row: Row) -> str:
    """Return the method of a row, its share K, and the captions of its clean pairs if they are not the usual ones."""
    share = (row["config"].get("defense") or {}).get("share")
    captions = row.get("captions", FULL_CAPTIONS)
    parts = [method_label(row["defense"]), "" if share is None else f"K {100 * share:g}%"]
    return ", ".join(filter(None, [*parts, "" if captions == FULL_CAPTIONS else f"{captions} captions"]))
