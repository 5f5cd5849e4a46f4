"""Result cards: each metric with its interval, its n and its test data."""

from __future__ import annotations

from typing import Any

import streamlit as st

from cleaner.evaluation import bootstrap
from cleaner.labels import is_meaningful
from pages._shared import cache
from pages._shared.state import SavedRun, escape_markdown, format_percent

CARD_METRICS = (
    (
        "ca",
        1,
        "Clean accuracy",
        "CA: share of clean images whose true class is predicted first. Higher is better.",
        "normal",
    ),
    ("asr", 1, "Attack success @1", "ASR@1: share of triggered images classified as the target.", "inverse"),
    (
        "asr",
        3,
        "Attack success @3",
        "ASR@3: share of triggered images with the target among the top three classes.",
        "inverse",
    ),
    ("ra", 1, "Robust accuracy", "RA: share of triggered images whose true class is still predicted first.", "normal"),
)
TRIGGER_KEY_LABELS = {"image": "image only", "text": "text only", "both": "both"}
"""Part of a two-part trigger that is present -> label."""
VERDICTS = {
    "took": ("The attack succeeded.", st.success, "check_circle"),
    "weak": ("The attack is weak.", st.warning, "warning"),
    "did not take": ("The attack failed.", st.error, "cancel"),
}
"""Verdict -> sentence, box and icon."""


def show_cards(run: SavedRun, baseline: SavedRun | None = None, horizontal: bool = False) -> None:
    """Draw CA, ASR@1, ASR@3 and RA with 95% intervals.

    Differences to `baseline` are in percentage points, only where both were measured on the same images.
    """
    places = st.columns(len(CARD_METRICS)) if horizontal else [st.container() for _ in CARD_METRICS]
    for place, metric in zip(places, CARD_METRICS, strict=True):
        with place:
            _show_card(run, baseline, *metric)


def show_rebound_card(rebound: SavedRun, defended: SavedRun) -> None:
    """Draw the attack success after a rebound test, with the difference to the tested defense."""
    label = f"Attack success @1, rebound {rebound.config['rebound'].get('steps', 0):,} steps"
    _show_card(rebound, defended, "asr", 1, label, "ASR@1 after further plain finetuning on clean pairs.", "inverse")


def _show_card(
    run: SavedRun, baseline: SavedRun | None, name: str, k: int, label: str, help: str, delta_color: Any
) -> None:
    """Draw one metric, if it was measured."""
    value, interval = run.figure(name, k), run.interval(name, k)
    if value is None:
        return
    is_comparable = baseline is not None and all(
        baseline.metrics.get(m) == run.metrics.get(m) for m in ("n", "data", "n_attack")
    )
    before = baseline.figure(name, k) if is_comparable and baseline is not None else None
    delta = None if before is None else f"{100 * (value - before):+.1f} points"
    n = run.metrics.get("n" if name == "ca" else "n_attack", 0)
    st.metric(label, format_percent(value), delta, delta_color=delta_color, help=help)
    if interval is not None:
        low, high = (100 * end for end in interval)
        notes = _difference_note(run, baseline, name, k) + _chance_note(run, k)
        st.caption(f"95% interval {low:.1f} to {high:.1f}%, n = {n:,}{notes}")


def _chance_note(run: SavedRun, k: int) -> str:
    """Return a warning if chance dominates a metric at k > 1 because there are few classes."""
    classes = run.metrics.get("classes")
    return "" if k == 1 or is_meaningful(k, classes) else f"; top {k} of {classes} classes is close to chance"


def _difference_note(run: SavedRun, baseline: SavedRun | None, name: str, k: int) -> str:
    """Return the paired interval of the difference to `baseline`, if both runs stored per-image outcomes."""
    if baseline is None or k != 1:
        return ""
    interval = bootstrap.metric_difference_interval(baseline.metrics, run.metrics, name)
    return "" if interval is None else f"; change {100 * interval[0]:+.1f} to {100 * interval[1]:+.1f} points"


def show_measurement_notes(run: SavedRun) -> None:
    """Draw the test data of a run, and its floor, base rate, retrieval and fine-detail metrics."""
    notes = [f"Measured on {escape_markdown(run.measured_on)}", *_attack_notes(run)]
    counterfactual = run.metrics.get("counterfactual_accuracy")
    if counterfactual is not None:
        n = run.metrics.get("n_counterfactual", 0)
        notes.append(f"Fine detail: {format_percent(counterfactual)} of {n:,} captions score above all false subtexts.")
    st.caption(" ".join([*notes, f"Run {escape_markdown(run.id)}."]))


def _attack_notes(run: SavedRun) -> list[str]:
    """Return sentences with the values to compare an attack success with."""
    target = escape_markdown(str(run.config.get("target_class")))
    notes = []
    floor, base_rate = run.figure("asr_clean_model"), run.figure("base_rate")
    if floor is not None:
        notes.append(f"Floor: {format_percent(floor)}, attack success on the clean model (target “{target}”).")
    by_key = run.metrics.get("asr_by_key") or {}
    if by_key:
        shares = [
            f"{label} {format_percent(by_key[key]['1'])}" for key, label in TRIGGER_KEY_LABELS.items() if key in by_key
        ]
        notes.append(f"Attack success @1 by key: {', '.join(shares)}.")
    if base_rate is not None:
        notes.append(f"Base rate: {format_percent(base_rate)} of the same images without the trigger.")
    asr, untriggered = (run.metrics.get(f"retrieval_{name}") for name in ("asr", "base_rate"))
    if asr is not None and untriggered is not None:
        notes.append(
            f"Search: for {format_percent(asr)} of the triggered images, one of the five nearest of "
            f"{run.metrics.get('n_gallery', 0):,} captions names the target; without the trigger, "
            f"{format_percent(untriggered)}."
        )
    return notes


def show_run_verdict(run: SavedRun) -> None:
    """Draw whether a run's attack succeeded."""
    if run.figure("asr") is not None:
        show_verdict(*cache.attack_verdict(run.folder, run.metrics))


def show_verdict(verdict: str, reason: str) -> None:
    """Draw a verdict ("took", "weak" or "did not take") and its reason."""
    sentence, box, icon = VERDICTS.get(verdict, VERDICTS["did not take"])
    box(f"**{sentence}** {escape_markdown(reason)}", icon=f":material/{icon}:")
