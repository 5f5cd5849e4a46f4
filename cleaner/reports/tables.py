"""Runs as flat rows: CSV with one column for each metric, JSON with all settings."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from cleaner.evaluation.metric_row import Metric
from cleaner.evaluation.result import METRICS, columns
from cleaner.labels import UNKNOWN_ATTACK
from cleaner.runs.record import RunRecord

FORMULA_STARTS = tuple("=+-@＝＋－＠")
"""First signs of a cell that a spreadsheet runs as a formula, also behind blanks; some accept the wide forms."""


def to_row(record: RunRecord) -> dict[str, Any]:
    """Return a run as one flat row: CSV column -> value; None where something was not measured or stated."""
    return {
        "run": record.id,
        "stage": record.stage,
        "model": record.model,
        "attack": record.attack or UNKNOWN_ATTACK,
        "target": record.target_class,
        "defense": record.defense_variant.key,
        "lr": record.lr or None,
        "seed": record.seed,
        "epochs": None if record.finetune.steps else record.finetune.epochs or None,
        "steps": record.finetune.steps or None,
        "pairs": record.pairs or None,
        "poison_rate": record.attack_poison_rate,
        **{metric.csv_name(k): record.metric(metric.key, k) for metric, k in columns("report")},
        **_bounds(record),
        "n": record.metrics.get("n"),
        "n_attack": record.metrics.get("n_attack"),
        "data": record.metrics.get("data"),
        "protocol": record.metrics.get("protocol"),
        "seconds": record.seconds or None,
        "created": record.created or None,
        "name": record.name or None,
        "tags": ", ".join(record.tags) or None,
        "note": record.note or None,
    }


def find_columns(records: Sequence[RunRecord]) -> list[tuple[Metric, int]]:
    """Return the metrics of reports; those that few attacks have are left out where no run has a value."""
    return [
        (metric, k)
        for metric, k in columns("report")
        if metric.view != "report" or any(record.metric(metric.key, k) is not None for record in records)
    ]


def _bounds(record: RunRecord) -> dict[str, float | None]:
    """Return "ca_low", "ca_high" and so on: 95% intervals at k = 1."""
    row: dict[str, float | None] = {}
    for name in [metric.key for metric in METRICS.values() if metric.has_bounds]:
        row[f"{name}_low"], row[f"{name}_high"] = record.interval(name) or (None, None)
    return row


def to_csv(records: Iterable[RunRecord]) -> str:
    """Return runs as CSV with a header; a text that a spreadsheet would run as a formula gets a leading quote."""
    records = list(records)
    rows = [to_row(record) for record in records]
    if not rows:
        return ""
    absent = {metric.csv_name(k) for metric, k in set(columns("report")) - set(find_columns(records))}
    absent |= {"steps"} if all(row["steps"] is None for row in rows) else set()
    names, out = [name for name in rows[0] if name not in absent], io.StringIO()
    writer = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows([{name: _escape_formula(value) for name, value in row.items()} for row in rows])
    return out.getvalue()


def _escape_formula(value: Any) -> Any:
    """Return a text as one line that is no formula; other values unchanged."""
    if not isinstance(value, str):
        return value
    line = " ".join(value.splitlines())  # the csv module leaves a carriage return unquoted
    return f"'{line}" if line.lstrip()[:1] in FORMULA_STARTS else line


def to_json(records: Iterable[RunRecord]) -> str:
    """Return runs with all settings and metrics as JSON."""
    rows = [
        {"run": record.id, "name": record.name, "tags": record.tags, "note": record.note}
        | {"config": record.config, "metrics": record.metrics}
        for record in records
    ]
    return json.dumps(rows, indent=1, default=str)
