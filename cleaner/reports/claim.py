"""The second protocol's results (benchmarks/results/protocol2_*.jsonl) as records, and their chart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

from cleaner import presets
from cleaner.files import FileVersion, file_version, read_json_lines
from cleaner.labels import format_count, to_attack_label
from cleaner.plots.equal_accuracy import CostPanel, CostPoint, accuracy_cost
from cleaner.reports.benchmark import BenchmarkRecord, parse_row

PART, CURVE_PART = "claim", "claim curves"
"""Part of the benchmark with each method at its rate, and the one with the other rates."""
BUDGETS = (0.02, 0.05)
"""Losses of accuracy at which methods are compared."""
CLAIM_STEPS = 651
"""Steps of the full schedule, seven epochs of 6,000 pairs."""
PLAIN_TASK = {"world": "scenes", "is_aware": False, "data": "disjoint", "steps": CLAIM_STEPS}
"""Values of each task in the main comparison."""
OWN_FORMULA = "ours"
MEASURED_ALONE = ("par",)
"""Methods that were corrected once everything was measured: another processor may measure them, on its own models."""
COPY_NOTE = "measured later, on models backdoored again on a different type of processor"
"""What tables and pages say of lines that `select_rows` marks `is_on_copy`."""
FINDINGS = {
    "scenes-lite": (
        "**Main result.** On clean pairs with long captions only, at a loss of 2 points of accuracy, TA-Cleaner (K "
        "100%, formula reviewed) leaves 59 [45, 73] points less of BadCLIP than CleanCLIP, which has no setting that "
        "costs so little (95% intervals, five seeds; target *key*); the paper reports 52. But the control, CleanCLIP "
        "on the same short true texts without false ones, is 66 [59, 72] points below CleanCLIP, and on clean pairs "
        "that also have short captions the gap is 6 [-8, 21] points (three seeds): the short true texts account for "
        "it. There plain finetuning leaves 0.17 and PAR 0.12, TA-Cleaner 0.29. False texts improve fine detail for the "
        "kinds of edits that they train on: 0.80 instead of 0.65 after the control. Within 2 points no method removes "
        "BadCLIP on this target; of the other attacks only TrojVQA survives, in part. One small generated world and "
        "few seeds."
    ),
    "photos-rn": (
        "**On photos plain finetuning and PAR leave least of the patch at equal accuracy** (one seed; TA-Cleaner and "
        "the control on another copy of the backdoored model than the rest): within 2 points of validation accuracy, "
        "plain finetuning leaves 0.03 of the patch, PAR 0.02, TA-Cleaner 0.13 (K 10%) and 0.13 (K 100%), the control "
        "0.17 and 0.18, CleanCLIP 0.19. At the rates below CleanCLIP leaves far more, because its next larger "
        "learning rate loses 2.02 points, and the control with K 10% less than TA-Cleaner with K 10%. No defense "
        "removes the wave or BadCLIP. TA-Cleaner keeps fine detail."
    ),
}
"""Model -> what its main comparison says, in sentences."""
GROUP = ("attack", "target", "seed", "world", "is_aware")
"""Fields of a task that name its backdoored model."""


def read_claim_records() -> list[BenchmarkRecord]:
    """Return the backdoored models and the methods on them, with the plain clean pairs and the usual steps.

    Cached until a file changes: do not change the records.
    """
    paths = sorted(presets.RESULTS_DIR.glob(presets.PROTOCOL2_RESULT.format("*")))
    return list(_read_versions(tuple((path, file_version(path)) for path in paths)))


@lru_cache(maxsize=1)
def _read_versions(files: tuple[tuple[Path, FileVersion | None], ...]) -> tuple[BenchmarkRecord, ...]:
    rows = (row for path, _ in files for row in read_json_lines(path) if PLAIN_TASK.items() <= row["task"].items())
    return tuple(_parse(row) for row in select_rows(rows))


def _parse(row: Mapping[str, Any]) -> BenchmarkRecord:
    task = row["task"]
    part = PART if task["has_followups"] or not task["method"] else CURVE_PART
    loss = row["backdoored_validation_ca"] - row["validation_ca"]
    named = {**row, "defense": name_method(row), "part": part}
    return parse_row(named, loss=loss, is_on_copy=row.get("is_on_copy", False))


def name_method(row: Mapping[str, Any]) -> str | None:
    """Return the method of a line; of TA-Cleaner the formula is named unless it is this project's. None: no defense."""
    formula = (row["config"].get("defense") or {}).get("formula", OWN_FORMULA)
    name: str | None = row["task"]["method"] or None
    return name if formula == OWN_FORMULA else f"{name}, formula {formula}"


def select_rows(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the lines with test metrics; of each backdoored model those of one processor, which measured most.

    Those of `MEASURED_ALONE` come from the processor that measured most of them. If it is another one, it backdoored a
    copy of its own: `is_on_copy` marks them, and `copy_asr` is the ASR@1 of that copy. rows: what one table compares;
    another may need another processor.
    """
    cells = [row for row in rows if row["task"]["kind"] == "cell" and row.get("metrics")]
    usual = _select_processor([row for row in cells if row["task"]["method"] not in MEASURED_ALONE], _find_group)
    alone = _select_processor([row for row in cells if row["task"]["method"] in MEASURED_ALONE], _find_curve)
    processors = {_find_group(row): row["processor"] for row in usual}
    copies = {(_find_group(row), str(row["processor"])): row["metrics"] for row in cells if not row["task"]["method"]}

    def mark(row: Mapping[str, Any]) -> Mapping[str, Any]:
        if row["processor"] == processors.get(_find_group(row), row["processor"]):
            return row
        metrics = copies.get((_find_group(row), str(row["processor"]))) or {}
        return {**row, "is_on_copy": True, "copy_asr": metrics.get("asr", {}).get("1")}

    return [*usual, *map(mark, alone)]


def _select_processor(
    rows: Sequence[Mapping[str, Any]], find_key: Callable[[Mapping[str, Any]], tuple[Any, ...]]
) -> list[Mapping[str, Any]]:
    """Return of the lines with one key those of the processor that measured most of them."""
    counts = Counter((find_key(row), str(row["processor"])) for row in rows)
    best: dict[tuple[Any, ...], str] = {}
    for (key, processor), count in counts.items():
        if key not in best or count > counts[key, best[key]]:
            best[key] = processor
    return [row for row in rows if str(row["processor"]) == best[find_key(row)]]


def _find_group(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row.get("model"), *(row["task"][name] for name in GROUP))


def _find_curve(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (*_find_group(row), row["task"]["method"], row["task"]["form"])


def rank_targets(records: Iterable[BenchmarkRecord]) -> list[str]:
    """Return the target classes, the one with most records first."""
    return [target for target, _ in Counter(record.target_class or "" for record in records).most_common()]


def plot(records: Sequence[BenchmarkRecord]) -> Any:
    """Return ASR left against accuracy lost, one panel per attack on the target with most records; None without any.

    Each mark is a rate, the mean over seeds, with a bar from the lowest to the highest ASR.
    """
    targets = rank_targets(records)
    found = [record for record in records if record.target_class == targets[0]]
    panels = [_make_panel(attack, found) for attack in dict.fromkeys(record.attack for record in found)]
    shown = [panel for panel in panels if any(len(points) > 1 for points in panel.curves.values())]
    return accuracy_cost(shown, BUDGETS) if shown else None


def _make_panel(attack: str | None, records: Sequence[BenchmarkRecord]) -> CostPanel:
    of_attack = [record for record in records if record.attack == attack]
    before = [record for record in of_attack if record.defense is None]
    names = dict.fromkeys(record.defense for record in of_attack if record.defense)
    curves = {name: _make_curve([record for record in of_attack if record.defense == name]) for name in names}
    return CostPanel(to_attack_label(attack), curves, _mean(before, "asr"), _mean(before, "asr_clean_model"))


def _make_curve(records: Sequence[BenchmarkRecord]) -> list[CostPoint]:
    """Return the points of one method, ascending by rate."""
    points = []
    for lr in sorted({record.lr for record in records}):
        at_rate = [record for record in records if record.lr == lr and record.loss is not None]
        values = [value for record in at_rate if (value := record.metric("asr")) is not None]
        loss = fmean(record.loss or 0.0 for record in at_rate)
        note = f"learning rate {lr:g}, {format_count(len(values), 'seeds')}"
        points.append(CostPoint(loss, fmean(values), min(values), max(values), note=note))
    return points


def _mean(records: Sequence[BenchmarkRecord], name: str) -> float | None:
    values = [value for record in records if (value := record.metric(name)) is not None]
    return fmean(values) if values else None
