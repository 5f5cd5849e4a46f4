"""The project's own comparison of attacks and defences, at the full setting: what benchmarks/results holds."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from cleaner.labels import to_defense_label, to_label
from cleaner.plots import charts
from cleaner.reports import html
from cleaner.reports.html import RunRecord
from pages._shared.cards import NO_BAR
from pages._shared.state import KEEP, escape_markdown

METRIC_COLUMNS = {
    "ca": "CA",
    "counterfactual_accuracy": "Fine detail",
    "asr": "ASR@1",
    "ra": "RA",
    "asr_clean_model": "Floor",
}


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


def show(entries: Sequence[RunRecord]) -> None:
    """Draw the comparison: all attacks of a model, then one attack as plane, curves and table."""
    left, middle, right = st.columns(3)
    models = list(dict.fromkeys(entry.model for entry in entries))
    model = left.selectbox("Model", models, key="measured.model", **KEEP)
    of_model = [entry for entry in entries if entry.model == model]
    parts = [part for part in PARTS if any(entry.config["part"] == part for entry in of_model)]
    part = middle.selectbox("Part", parts, format_func=lambda p: PARTS[p][0], key="measured.part", **KEEP)
    entries = html.select_part(of_model, part)
    names = list(html.METRIC_TITLES)
    name = right.selectbox(
        "Figure", names, format_func=lambda n: html.METRIC_TITLES[n].partition(":")[0], key="measured.figure", **KEEP
    )
    st.plotly_chart(html.plot_heatmap(entries, str(name)), key="measured.heatmap", config=NO_BAR)
    st.caption(f"{PARTS[part][1]} Mean over seeds and, with several, [minimum, maximum]. Empty: not measured.")
    attacks = list(dict.fromkeys(entry.attack for entry in entries))
    attack = st.segmented_control(
        "Attack", attacks, default=attacks[0], format_func=to_label, key="measured.attack", **KEEP
    )
    show_attack([entry for entry in entries if entry.attack == (attack or attacks[0])])


def show_attack(entries: Sequence[RunRecord]) -> None:
    """Draw one attack on one model: cost against benefit, the way there, and every cell."""
    curves = html.plot_removal(entries)
    plane, way = st.columns(2) if curves is not None else (st.container(), None)
    with plane:
        st.subheader("What each defence costs and brings", anchor=False)
        st.plotly_chart(
            charts.pareto(html.make_defense_points(entries), entries[0].figure("asr_clean_model")),
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
            "Defence": to_defense_label(e.defense),
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
        f"Measured on {escape_markdown(entries[0].protocol)}. {escape_markdown(devices)}; commit {escape_markdown(commits)}. TA-Cleaner is a "
        "re-implementation from the public description. Learning rates were chosen by clean accuracy on validation "
        "pictures alone; “at” names a fixed one. More figures: docs/results.md."
    )
