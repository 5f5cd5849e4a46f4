"""Table of the triggers in the text and the input-aware one: each attack before and after each defense."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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

COLUMNS = ("CA", "CF", "ASR@1", "RA", "base rate")
COMPARED_COLUMNS = ("CA", "ASR@1", "RA", "also")
"""Where two kinds of captions are compared."""
OTHER_METRICS = (("own_recall", 1), ("cross_asr", 1))
"""(metric, k) of the column "also"."""


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
    """Return the table of rows in the quick setting, of the seeds with all cells; one block of columns per captions."""
    count = Counter(row["seed"] for row in measured)
    rows = [row for row in measured if count[row["seed"]] == max(count.values())]
    kinds = list(dict.fromkeys(_captions(row) for row in rows))
    columns = COLUMNS if len(kinds) == 1 else COMPARED_COLUMNS
    lines = []
    for of_attack in group_rows(rows, "trigger"):
        for group in group_rows(of_attack, "defense"):
            by_captions = [[row for row in group if _captions(row) == kind] for kind in kinds]
            cells = [cell for found in by_captions for cell in _format_cells(found, columns)]
            lines.append((f"`{group[0]['trigger']}`", label_cell(group[0], with_captions=False), *cells))
    protocols, poisonings, floors = (
        "; ".join(f"`{group[0]['trigger']}`: {describe(group)}" for group in group_rows(rows, "trigger"))
        for describe in (describe_protocol, describe_poisoning, lambda group: format_metrics(group)[5])
    )
    rates = join_unique(f"{label_cell(row)}: {row['config']['finetune']['lr']:g}" for row in rows if row["defense"])
    header = (f"{column}, {kind}" if len(kinds) > 1 else column for kind in kinds for column in columns)
    return (
        f"{markdown_table(('attack', 'defense', *header), lines)}\n\nModel "
        f"`{join_unique(row['model'] for row in rows)}`. {protocols}. Floor: {floors}. "
        f"{describe_seeds(rows)}. Poisoned: {poisonings}. Learning rates: {rates.replace(' / ', '; ')}. "
        f"{describe_origins(rows)}; `{command}`."
    )


def _captions(row: Row) -> str:
    return str(row.get("captions", FULL_CAPTIONS))


def _format_cells(rows: list[Row], columns: Sequence[str]) -> list[str]:
    """Return these columns of one attack and defense on one kind of captions; empty without rows."""
    if not rows:
        return [""] * len(columns)
    ca, cf, asr, _, ra, _, base_rate = format_metrics(rows)
    others = []
    for name, k in OTHER_METRICS:
        values = [value for row in rows if (value := results.parse_row_metrics(row).metric(name, k)) is not None]
        if values:
            others.append(f"{METRICS[name].header(k)} {sum(values) / len(values):.3f}")
    cells = {"CA": ca, "CF": cf, "ASR@1": asr, "RA": ra, "base rate": base_rate, "also": ", ".join(others) or "-"}
    return [cells[column] for column in columns]


def label_cell(row: Row, *, with_captions: bool = True) -> str:
    """Return the method of a row, its share K, and the captions of its clean pairs if they are not the usual ones."""
    share = (row["config"].get("defense") or {}).get("share")
    captions = "" if not with_captions or _captions(row) == FULL_CAPTIONS else f"{_captions(row)} captions"
    return ", ".join(
        filter(None, [method_label(row["defense"]), "" if share is None else f"K {100 * share:g}%", captions])
    )
