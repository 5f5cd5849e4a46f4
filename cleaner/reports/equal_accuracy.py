"""Runs compared at equal accuracy: what each defense reaches among all its learning rates and seeds."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from cleaner.evaluation.equal_accuracy import Setting, equal_accuracy_curve
from cleaner.evaluation.protocol import is_same_test
from cleaner.evaluation.result import METRICS, success_metric, success_share
from cleaner.labels import format_count
from cleaner.plots import equal_accuracy as plots
from cleaner.plots.equal_accuracy import MAX_LOSS, CostPanel, CostPoint
from cleaner.reports.aggregate import make_row_namer
from cleaner.runs.record import RunRecord
from cleaner.runs.request import get_test_data
from cleaner.variant import Variant

LOSSES = [round(0.005 * i, 3) for i in range(round(MAX_LOSS / 0.005) + 1)]
TITLE = "Attack success at equal accuracy"
NOTE = (
    "Each line: the lowest attack success among the settings of a defense that lose at most x points of clean accuracy "
    "against their backdoored model; the backdoored model itself counts as a setting that loses nothing. Equal "
    "settings are averaged over seeds first; with several backdoored models, mean and range. The settings were picked "
    "by their test figures, so this shows what a defense can reach, not what a defender who does not know the trigger "
    "would get."
)
"""Note under the chart."""


def find_pairs(records: Sequence[RunRecord], suspects: Sequence[RunRecord]) -> list[tuple[RunRecord, RunRecord]]:
    """Return (backdoored run, defense of it), both with CA and attack success on the same test images."""

    def is_measured(record: RunRecord) -> bool:
        return record.metric("ca") is not None and success_share(record) is not None

    backdoored = [run for run in suspects if run.stage == "backdoored" and is_measured(run)]
    defended = [run for run in records if run.stage == "defended" and run.rebound is None and is_measured(run)]
    pairs = [(next((other for other in backdoored if run.started_from(other)), None), run) for run in defended]
    return [(suspect, run) for suspect, run in pairs if suspect and is_same_test(suspect.metrics, run.metrics)]


def make_panels(records: Sequence[RunRecord], suspects: Sequence[RunRecord]) -> list[CostPanel]:
    """Return one panel for each attack with a defense of several settings; backdoored runs are among `suspects`."""
    pairs = find_pairs(records, suspects)
    row_name = make_row_namer([suspect for suspect, _ in pairs])
    panels = []
    for title in dict.fromkeys(row_name(suspect) for suspect, _ in pairs):
        of_panel = _select_common([(suspect, record) for suspect, record in pairs if row_name(suspect) == title])
        defenses = sorted({record.defense_variant for _, record in of_panel}, key=lambda variant: variant.key)
        settings = {d: _collect([pair for pair in of_panel if pair[1].defense_variant == d]) for d in defenses}
        if all(len(tried) < 2 for models in settings.values() for _, tried in models):
            continue
        before = fmean({suspect.folder: success_share(suspect) or 0.0 for suspect, _ in of_panel}.values())
        curves = {defense: _make_curve(models) for defense, models in settings.items()}
        metric = METRICS[success_metric(of_panel[0][0])].card_label(1)
        panels.append(CostPanel(title, curves, before, success=metric))
    return panels


def _select_common(pairs: Sequence[tuple[RunRecord, RunRecord]]) -> Sequence[tuple[RunRecord, RunRecord]]:
    """Return the pairs of models that every defense was tried on, for fairness; all if there is none."""
    models: dict[Variant, set[Path]] = {}
    for suspect, record in pairs:
        models.setdefault(record.defense_variant, set()).add(suspect.folder)
    common = set.intersection(*models.values())
    return [pair for pair in pairs if pair[0].folder in common] if common else pairs


def _collect(pairs: Sequence[tuple[RunRecord, RunRecord]]) -> list[tuple[float, list[Setting]]]:
    """Return, for each backdoored model, its attack success and the settings of one defense, averaged over seeds."""
    models: dict[Path, tuple[RunRecord, dict[str, list[RunRecord]]]] = {}
    for suspect, record in pairs:
        finetune = {**(record.config.get("finetune") or {}), "seed": 0, "eval_every": 0}
        shares_images = not record.is_retrained and bool((record.overlap or {}).get("shared"))
        data = [*get_test_data(record.config)[:2], record.pairs, shares_images]
        key = json.dumps([data, finetune], sort_keys=True)
        models.setdefault(suspect.folder, (suspect, {}))[1].setdefault(key, []).append(record)
    return [
        (
            success_share(suspect) or 0.0,
            [
                Setting(
                    runs[0].lr,
                    fmean((suspect.metric("ca") or 0.0) - (record.metric("ca") or 0.0) for record in runs),
                    fmean(success_share(record) or 0.0 for record in runs),
                )
                for runs in settings.values()
            ],
        )
        for suspect, settings in models.values()
    ]


def _make_curve(models: Sequence[tuple[float, Sequence[Setting]]]) -> list[CostPoint]:
    most = max(len(settings) for _, settings in models)
    note = format_count(most, "settings") + (f", {len(models)} backdoored models" if len(models) > 1 else "")
    values = equal_accuracy_curve(models, LOSSES)
    return [
        CostPoint(loss=loss, asr=asr, low=low, high=high, note=note)
        for loss, (asr, low, high) in zip(LOSSES, values, strict=True)
    ]


def plot(records: Sequence[RunRecord], suspects: Sequence[RunRecord]) -> Any:
    """Return the chart of runs at equal accuracy; None if no defense was tried with several settings."""
    panels = make_panels(records, suspects)
    return plots.equal_accuracy(panels) if panels else None
