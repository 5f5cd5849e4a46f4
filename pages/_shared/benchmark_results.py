"""The project's benchmark of attacks and defenses, from benchmarks/results."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import pandas as pd
import streamlit as st

from cleaner.labels import to_attack_label, to_defense_label
from cleaner.plots import comparison
from cleaner.reports import aggregate, benchmark, claim
from cleaner.reports.benchmark import BenchmarkRecord
from pages._shared import cards
from pages._shared.plotly_charts import NO_MODE_BAR
from pages._shared.state import KEEP, choose_segment
from pages._shared.wording import escape_markdown

PARTS = {
    claim.PART: (
        "Main comparison (second protocol)",
        "Its rules were written down before any test result: target classes were drawn at random, and clean "
        "accuracy alone chose the learning rates. “Formula reviewed” is TA-Cleaner with the loss as the paper's "
        "reviewers describe it.",
    ),
    "comparison": (
        "First protocol",
        "Measured earlier; clean accuracy alone chose the learning rate of each defense.",
    ),
    benchmark.PHOTO_PART: (
        "Photos",
        "Each defense uses its largest learning rate that loses at most 2 points of validation accuracy on the patch.",
    ),
    "fixed rates": (
        "Equal learning rates",
        "“at” marks a defense at a shared learning rate, whatever its cost in accuracy.",
    ),
    "ablations": (
        "TA-Cleaner ablations",
        "TA-Cleaner without one of its parts, or with another share K of the pairs, at the same learning rate.",
    ),
    "other triggers": ("Other triggers", "Triggers beyond the paper's six: one seed, one defense."),
}
"""Part of the benchmark -> label and note."""


def show(entries: Sequence[BenchmarkRecord]) -> None:
    """Draw the benchmark of one model: all attacks as a heatmap, then one attack in detail."""
    left, middle, right = st.columns(3)
    models = list(dict.fromkeys(entry.model for entry in entries))
    model = left.selectbox("Model", models, key="benchmark.model", **KEEP)
    of_model = [entry for entry in entries if entry.model == model]
    parts = [part for part in PARTS if any(entry.part == part for entry in of_model)]
    part = middle.selectbox("Part", parts, format_func=lambda p: PARTS[p][0], key="benchmark.part", **KEEP)
    entries = benchmark.select_part(of_model, part)
    if part == parts[0] and model in claim.FINDINGS:
        st.markdown(claim.FINDINGS[str(model)])
    if part == claim.PART:
        show_accuracy_cost(of_model)
    labels = {metric.key: metric.card_label(1) for metric in aggregate.heatmap_metrics()}
    metric = right.selectbox(
        "Metric",
        list(labels),
        format_func=labels.__getitem__,
        key="benchmark.metric",
        **KEEP,
    )
    st.plotly_chart(aggregate.plot_heatmap(entries, str(metric)), key="benchmark.heatmap", config=NO_MODE_BAR)
    st.caption(f"{PARTS[part][1]} Mean and [minimum, maximum] over seeds. Empty: not measured.")
    attacks = list(dict.fromkeys(entry.attack for entry in entries))
    attack = choose_segment("Attack", attacks, format_func=to_attack_label, key="benchmark.attack")
    of_attack = [entry for entry in entries if entry.attack == attack]
    targets = claim.rank_targets(of_attack)
    target = targets[0]
    if len(targets) > 1:  # each target is another backdoored model
        target = choose_segment("Target class", targets, key="benchmark.target")
    show_attack([entry for entry in of_attack if entry.target_class == target])


def show_accuracy_cost(entries: Sequence[BenchmarkRecord]) -> None:
    """Draw what every method of the second protocol leaves of the attack over the accuracy that it costs."""
    shown = [entry for entry in entries if entry.part in (claim.PART, claim.CURVE_PART)]
    figure = claim.plot(shown)
    if figure is not None:
        st.header("Attack success against accuracy lost", anchor=False)
        st.plotly_chart(figure, key="benchmark.cost", config=NO_MODE_BAR)
        st.caption(
            f"Target: {claim.rank_targets(shown)[0]}. One mark per learning rate, mean and range over seeds. Accuracy "
            "is measured on validation images, attack success on test images. Dashed: the backdoored model (orange), "
            "and the trigger on the clean model (gray). Dotted: 2 and 5 points of accuracy."
        )


def show_attack(entries: Sequence[BenchmarkRecord]) -> None:
    """Draw one attack on one model: trade-off, attack success during training, and all runs."""
    curves = benchmark.plot_removal(entries)
    backdoored = [entry for entry in entries if not entry.defense]
    floors = [floor for entry in backdoored if (floor := entry.metric("asr_clean_model")) is not None]
    left, right = st.columns(2) if curves is not None else (st.container(), None)
    with left:
        st.header("Accuracy and attack success", anchor=False)
        st.plotly_chart(
            comparison.pareto(aggregate.make_defense_points(entries), fmean(floors) if floors else None),
            key="benchmark.pareto",
            config=NO_MODE_BAR,
        )
        st.caption(
            "Bottom right is best. Marks and dotted line: mean over seeds. Bars: range over seeds, or the 95% Wilson "
            "interval of a single seed."
        )
    if right is not None:
        with right:
            st.header("Attack success during training", anchor=False)
            st.plotly_chart(curves, key="benchmark.training", config=NO_MODE_BAR)
            st.caption("Validation images, not used for any choice. Only runs with evaluations during training.")
    values, formats = cards.metric_columns(entries)
    table = pd.DataFrame(
        {
            "Defense": [to_defense_label(e.defense) for e in entries],
            "Seed": [e.seed for e in entries],
            "Learning rate": [e.lr or None for e in entries],
            **values,
        }
    )
    st.dataframe(table, hide_index=True, column_config=formats, placeholder="–")
    commits = ", ".join(dict.fromkeys(str(e.commit) for e in entries))
    devices = ", ".join(dict.fromkeys(str(e.device) for e in entries))
    if on_copies := dict.fromkeys(to_defense_label(e.defense) for e in entries if e.is_on_copy):
        st.caption(f"{', '.join(on_copies)}: {claim.COPY_NOTE}.")
    st.caption(
        f"Target: {entries[0].target_class}. Measured on {escape_markdown(entries[0].protocol)}, with "
        f"{escape_markdown(devices)}. TA-Cleaner is a re-implementation from the public description.",
        help=f"Commits of the code: {commits}. More results: docs/results.md.",
    )
