"""The project's benchmark of attacks and defenses, from benchmarks/results."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from cleaner.labels import to_defense_label, to_label
from cleaner.plots import charts
from cleaner.reports import html
from cleaner.reports.html import RunRecord
from pages._shared.plotly_charts import NO_MODE_BAR
from pages._shared.state import KEEP, escape_markdown

METRIC_COLUMNS = {
    "ca": "CA",
    "counterfactual_accuracy": "Fine detail",
    "asr": "ASR@1",
    "ra": "RA",
    "asr_clean_model": "Floor",
}

PARTS = {
    "comparison": ("Comparison", "Each defense at the learning rate chosen by clean accuracy alone."),
    "fixed rates": ("Equal learning rates", "“at” marks a learning rate fixed for all defenses, whatever it costs."),
    "ablations": ("TA-Cleaner ablations", "TA-Cleaner without one part or with another K, at the same learning rate."),
    "other triggers": ("Other triggers", "Triggers beyond the paper's six: one seed, one defense."),
}
"""Part of the benchmark -> label and note."""


def show(entries: Sequence[RunRecord]) -> None:
    """Draw the benchmark of one model: all attacks as a heatmap, then one attack in detail."""
    left, middle, right = st.columns(3)
    models = list(dict.fromkeys(entry.model for entry in entries))
    model = left.selectbox("Model", models, key="benchmark.model", **KEEP)
    of_model = [entry for entry in entries if entry.model == model]
    parts = [part for part in PARTS if any(entry.config["part"] == part for entry in of_model)]
    part = middle.selectbox("Part", parts, format_func=lambda p: PARTS[p][0], key="benchmark.part", **KEEP)
    entries = html.select_part(of_model, part)
    metric = right.selectbox(
        "Metric",
        list(html.METRIC_TITLES),
        format_func=lambda name: html.METRIC_TITLES[name].partition(":")[0],
        key="benchmark.metric",
        **KEEP,
    )
    st.plotly_chart(html.plot_heatmap(entries, str(metric)), key="benchmark.heatmap", config=NO_MODE_BAR)
    st.caption(f"{PARTS[part][1]} Mean and [minimum, maximum] over seeds. Empty: not measured.")
    attacks = list(dict.fromkeys(entry.attack for entry in entries))
    attack = st.segmented_control(
        "Attack", attacks, default=attacks[0], format_func=to_label, key="benchmark.attack", **KEEP
    )
    show_attack([entry for entry in entries if entry.attack == (attack or attacks[0])])


def show_attack(entries: Sequence[RunRecord]) -> None:
    """Draw one attack on one model: trade-off, attack success during training, and all runs."""
    curves = html.plot_removal(entries)
    left, right = st.columns(2) if curves is not None else (st.container(), None)
    with left:
        st.subheader("Accuracy and attack success", anchor=False)
        st.plotly_chart(
            charts.pareto(html.make_defense_points(entries), entries[0].figure("asr_clean_model")),
            key="benchmark.pareto",
            config=NO_MODE_BAR,
        )
        st.caption("Bottom right is best. Bars: range over seeds, or the 95% Wilson interval of a single seed.")
    if right is not None:
        with right:
            st.subheader("Attack success during training", anchor=False)
            st.plotly_chart(curves, key="benchmark.training", config=NO_MODE_BAR)
            st.caption("Validation images, not used for any choice. Only runs with evaluations during training.")
    rows = [
        {
            "Defense": to_defense_label(e.defense),
            "Seed": e.finetune.get("seed"),
            "Learning rate": e.finetune.get("lr"),
            **{label: None if (v := e.figure(name)) is None else 100 * v for name, label in METRIC_COLUMNS.items()},
        }
        for e in entries
    ]
    styles = {label: st.column_config.NumberColumn(format="%.1f %%") for label in METRIC_COLUMNS.values()}
    styles["Learning rate"] = st.column_config.NumberColumn(format="%g")
    st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch", column_config=styles)
    commits = ", ".join(dict.fromkeys(str(e.config["commit"]) for e in entries))
    devices = ", ".join(dict.fromkeys(str(e.config["device"]) for e in entries))
    st.caption(
        f"Measured on {escape_markdown(entries[0].protocol)}. {escape_markdown(devices)}; commit "
        f"{escape_markdown(commits)}. TA-Cleaner is a re-implementation from the public description. Learning rates: "
        "chosen by clean accuracy on validation images; “at” marks a fixed one. More results: docs/results.md."
    )
