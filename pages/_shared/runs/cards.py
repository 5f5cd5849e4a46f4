"""Result cards: each metric with its interval, its n and its test data."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import streamlit as st

from cleaner.evaluation import bootstrap
from cleaner.evaluation.protocol import is_same_test
from cleaner.evaluation.result import METRICS, Metric, columns, success_metric
from cleaner.labels import VERDICT_SENTENCES, format_count
from cleaner.runs.record import RunRecord
from pages._shared.shell.wording import escape_markdown, format_percent

DELTA_COLORS: dict[str, Literal["normal", "inverse", "off"]] = {"higher": "normal", "lower": "inverse", "": "off"}
"""`Metric.better` -> color of a difference."""
TRIGGER_KEY_LABELS = {"image": "image only", "text": "text only", "both": "both"}
"""Part of a two-part trigger that is present -> label."""
METRIC_WIDTH = 62
"""Pixels of a column with a metric in a table: the metrics are in view in a window of 1280 px."""
VERDICT_BOXES = {
    "took": (st.success, "check_circle"),
    "weak": (st.warning, "warning"),
    "did not take": (st.error, "cancel"),
    "is unclear": (st.warning, "help"),
}
"""Verdict -> box and icon."""


def show_cards(run: RunRecord, baseline: RunRecord | None = None) -> None:
    """Draw the metrics of the "card" view with their 95% intervals in small print.

    The metric that the attack is judged by comes first and is largest, even if the view lacks it. Differences to
    `baseline` are in points, only where both were measured on the same images. Cards next to each other line up: each
    draws the same rows of the same height.
    """
    headline = (METRICS[success_metric(baseline or run)], 1)
    for metric, k in [headline, *(card for card in columns("card") if card != headline)]:
        is_headline = (metric, k) == headline
        with st.container(key=f"{'headline' if is_headline else 'figure'}-{metric.key}-{k}-{run.id}"):
            _show_card(run, baseline, metric, k)


def metric_columns(runs: Sequence[RunRecord]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header -> values of the metrics, NaN where not measured, and header -> format, for run tables."""
    values = {}
    formats = {
        "Learning rate": st.column_config.NumberColumn("lr", format="%g", help="Learning rate.", width=62),
        "Seed": st.column_config.NumberColumn(width=52),
        "Seconds": st.column_config.NumberColumn(format="%.0f", width=70),
        **{n: st.column_config.NumberColumn(format="localized", width=62) for n in ("n (CA)", "n (ASR)", "Pairs")},
    }
    for metric, k in columns("table"):
        scale, number_format = (100, "%.1f%%") if metric.is_share else (1, "%.4g")
        values[metric.header(k)] = scale * np.array([run.metric(metric.key, k) for run in runs], float)
        formats[metric.header(k)] = st.column_config.NumberColumn(
            format=number_format, help=metric.help, width=METRIC_WIDTH
        )
    return values, formats


def show_rebound_card(rebound: RunRecord, defended: RunRecord) -> None:
    """Draw the attack success after a rebound test, with the difference to the tested defense."""
    measured = METRICS[success_metric(defended)]
    steps = rebound.rebound.steps if rebound.rebound is not None else 0
    metric = replace(
        measured,
        label=f"Rebound, {format_count(steps, 'steps')}",
        meaning=f"{measured.card_label(1)} after further plain finetuning on clean pairs.",
        ks=(1,),
    )
    with st.container(key=f"figure-rebound-{rebound.id}"):
        _show_card(rebound, defended, metric, 1)


def _show_card(run: RunRecord, baseline: RunRecord | None, metric: Metric, k: int) -> None:
    """Draw one metric; a dash if it was not measured."""
    value, interval = run.metric(metric.key, k), run.interval(metric.key, k)
    if value is None:
        st.metric(metric.card_label(k), "–", help=f"{metric.help} Not measured.")
        return
    is_comparable = baseline is not None and is_same_test(baseline.metrics, run.metrics)
    before = baseline.metric(metric.key, k) if is_comparable and baseline is not None else None
    delta = None if before is None else metric.format_change(before, value)
    is_same = delta is not None and delta.startswith("±")  # for Streamlit every text without "-" is an increase
    notes = [f"n = {run.count(metric.key):,}"]
    if interval is not None:
        low, high = map(metric.format_percent, interval)
        notes.insert(0, f"95% interval {low.removesuffix('%')} to {high}")
    notes += [*_difference_note(run, baseline, metric, k), *_chance_note(run, k)]
    st.metric(
        metric.card_label(k),
        metric.format_percent(value),
        delta,
        delta_color="off" if is_same else DELTA_COLORS[metric.better],
        delta_arrow="off" if is_same else "auto",
        help=f"{metric.help} {'; '.join(notes)}.",
    )
    if interval is not None:
        st.caption(f"{low.removesuffix('%')}–{high}")


def _chance_note(run: RunRecord, k: int) -> list[str]:
    """Return the chance level of a metric at k > 1 if it is high because there are few classes."""
    if k == 1 or run.is_meaningful(k):
        return []
    classes = run.metrics["classes"]
    return [f"top {k} of {format_count(classes, 'classes')}: {k / max(classes, k):.0%} by chance"]


def _difference_note(run: RunRecord, baseline: RunRecord | None, metric: Metric, k: int) -> list[str]:
    """Return the paired interval of the difference to `baseline`, if both runs stored per-image outcomes."""
    if baseline is None or k != 1 or metric.key not in bootstrap.COUNT_FIELDS:
        return []
    interval = bootstrap.metric_difference_interval(baseline.metrics, run.metrics, metric.key)
    if interval is None:
        return []
    low, high = map(metric.format_delta, interval)
    return [f"change {low.removesuffix(' points')} to {high}"]


def show_measurement_notes(run: RunRecord) -> None:
    """Draw the test data of a run, and its floor, base rate, retrieval and fine-detail metrics, in a folded box."""
    notes = [f"Measured on {escape_markdown(run.protocol)}.", *_attack_notes(run)]
    counterfactual = run.metrics.get("counterfactual_accuracy")
    if counterfactual is not None:
        n = run.metrics.get("n_counterfactual", 0)
        notes.append(f"Fine detail: {format_percent(counterfactual)} of {n:,} captions score above all false texts.")
    with st.expander(f"n = {run.count('ca'):,} (CA), {run.count('asr'):,} (ASR) · how measured"):
        st.caption(" ".join([*notes, f"Run {escape_markdown(run.id)}."]))
    warn_of_changed_files(run)


def _attack_notes(run: RunRecord) -> list[str]:
    """Return sentences with the values to compare an attack success with."""
    target = escape_markdown(str(run.target_class))
    notes = []
    floor, base_rate = run.metric("asr_clean_model"), run.metric("base_rate")
    if floor is not None:
        notes.append(f"Floor: {format_percent(floor)}, attack success on the clean model (target “{target}”).")
    by_key = run.metrics.get("asr_by_key") or {}
    if by_key:
        shares = [
            f"{label} {format_percent(by_key[key]['1'])}" for key, label in TRIGGER_KEY_LABELS.items() if key in by_key
        ]
        notes.append(f"Attack success @1 by key: {', '.join(shares)}.")
    if base_rate is not None:
        notes.append(f"Base rate: {format_percent(base_rate)} reach the target without the trigger.")
    asr, untriggered = (run.metrics.get(f"retrieval_{name}") for name in ("asr", "base_rate"))
    is_text = run.queries == "captions"
    asked, searched = ("keyed captions", "images shows") if is_text else ("triggered images", "captions names")
    if asr is not None and untriggered is not None:
        notes.append(
            f"Retrieval: for {format_percent(asr)} of the {asked}, one of the five nearest of "
            f"{run.metrics.get('n_gallery', 0):,} {searched} the target; without the trigger, "
            f"{format_percent(untriggered)}."
        )
    own, own_clean, crossed = run.metric("own_recall", 10), run.metric("own_recall_clean", 10), run.metric("cross_asr")
    if own is not None and own_clean is not None:
        notes.append(
            f"The attacker's image is among the ten nearest for {format_percent(own)} of the keyed captions; without "
            f"the key, {format_percent(own_clean)}."
        )
    if crossed is not None:
        notes.append(f"Attack success with another image's trigger: {format_percent(crossed)}.")
    return notes


def show_verdict(stated: Sequence[str] | None) -> None:
    """Draw a verdict and its reason, as `attack_verdict` returns them; nothing for None."""
    if stated is None:
        return
    verdict, reason = stated
    box, icon = VERDICT_BOXES[verdict]
    box(f"**{VERDICT_SENTENCES[verdict]}** {escape_markdown(reason)}", icon=f":material/{icon}:")


def warn_of_changed_files(run: RunRecord) -> None:
    """Warn about result files whose hash changed."""
    if changed := run.changed_files:
        st.warning(
            f"Changed since the run: {escape_markdown(', '.join(changed))}. Its figures may belong to another model.",
            icon=":material/warning:",
        )
