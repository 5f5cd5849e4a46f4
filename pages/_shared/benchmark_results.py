"""The project's own comparison of attacks and defences, at the full setting: what benchmarks/results holds."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from cleaner.evaluation.result import columns
from cleaner.labels import NO_DEFENSE, to_attack_label, to_defense_label
from cleaner.plots import charts
from cleaner.reports import aggregate, benchmark
from cleaner.reports.benchmark import BenchmarkRecord
from pages._shared.cards import NO_BAR
from pages._shared.state import KEEP, escape_markdown

PARTS = {
    "comparison": ("The comparison", "Each defence at the learning rate that clean accuracy alone chose for it."),
    "fixed rates": (
        "At equal learning rates",
        "“at” names a rate that all got, whatever accuracy it costs; the others stand at such a rate anyway.",
    ),
    "ablations": ("Parts of TA-Cleaner", "TA-Cleaner with a part taken away or another K, at the rate of the whole."),
    "other triggers": ("Other triggers", "Beyond the paper's six: one seed, one defence."),
}
"""Part of the project's table -> its name, and what stands under it."""


def show(entries: Sequence[BenchmarkRecord]) -> None:
    """Draw the comparison: all attacks of a model, then one attack as plane, curves and table."""
    left, middle, right = st.columns(3)
    models = list(dict.fromkeys(entry.model for entry in entries))
    model = left.selectbox("Model", models, key="measured.model", **KEEP)
    of_model = [entry for entry in entries if entry.model == model]
    parts = [part for part in PARTS if any(entry.part == part for entry in of_model)]
    part = middle.selectbox("Part", parts, format_func=lambda p: PARTS[p][0], key="measured.part", **KEEP)
    entries = benchmark.select_part(of_model, part)
    titles = {row.key: row.card_label(1) for row in aggregate.heatmap_metrics()}
    name = right.selectbox("Figure", list(titles), format_func=titles.__getitem__, key="measured.figure", **KEEP)
    st.plotly_chart(aggregate.plot_heatmap(entries, str(name)), key="measured.heatmap", config=NO_BAR)
    st.caption(f"{PARTS[part][1]} Mean over seeds and, with several, [minimum, maximum]. Empty: not measured.")
    attacks = list(dict.fromkeys(entry.attack for entry in entries))
    attack = st.segmented_control(
        "Attack", attacks, default=attacks[0], format_func=to_attack_label, key="measured.attack", **KEEP
    )
    show_attack([entry for entry in entries if entry.attack == (attack or attacks[0])])


def show_attack(entries: Sequence[BenchmarkRecord]) -> None:
    """Draw one attack on one model: cost against benefit, the way there, and every cell."""
    curves = benchmark.plot_removal(entries)
    plane, way = st.columns(2) if curves is not None else (st.container(), None)
    with plane:
        st.subheader("What each defence costs and brings", anchor=False)
        st.plotly_chart(
            charts.pareto(aggregate.make_defense_points(entries), entries[0].metric("asr_clean_model")),
            key="measured.plane",
            config=NO_BAR,
        )
        st.caption(
            "Down and to the right is better. Bars: lowest and highest of several seeds around their mean; of one "
            "seed, the 95 % Wilson interval."
        )
    if way is not None:
        with way:
            st.subheader("How attack success falls on the way", anchor=False)
            st.plotly_chart(curves, key="measured.way", config=NO_BAR)
            st.caption("On validation pictures; nothing is chosen by it. Runs that were not watched are missing here.")
    rows = [
        {
            "Defence": to_defense_label(e.defense or NO_DEFENSE),
            "Seed": e.seed,
            "Learning rate": e.lr or None,
            **{
                metric.header(k): value if value is None or not metric.is_share else 100 * value
                for metric, k in columns("table")
                for value in [e.metric(metric.key, k)]
            },
        }
        for e in entries
    ]
    styles = {
        metric.header(k): st.column_config.NumberColumn(
            format="%.1f %%" if metric.is_share else "%.4g", help=metric.help
        )
        for metric, k in columns("table")
    }
    styles["Learning rate"] = st.column_config.NumberColumn(format="%g")
    st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch", column_config=styles)
    commits = ", ".join(dict.fromkeys(str(e.commit) for e in entries))
    devices = ", ".join(dict.fromkeys(str(e.device) for e in entries))
    st.caption(
        f"Measured on {escape_markdown(entries[0].protocol)}. {escape_markdown(devices)}; commit {escape_markdown(commits)}. TA-Cleaner is a "
        "re-implementation from the public description. Learning rates were chosen by clean accuracy on validation "
        "pictures alone; “at” names a fixed one. More figures: docs/results.md."
    )
