"""Compare: all runs side by side, what a defence costs and brings, and everything to take away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from cleaner.evaluation.result import columns
from cleaner.labels import NO_DEFENSE, UNKNOWN_ATTACK, to_attack_label, to_defense_label
from cleaner.plots import charts
from cleaner.reports import aggregate
from cleaner.reports.benchmark import read_benchmark_records
from cleaner.reports.export import export_weights
from cleaner.reports.tables import to_csv, to_json, to_row
from cleaner.runs.record import RunRecord
from pages._shared import benchmark_results, cache, state
from pages._shared.frame import link, page
from pages._shared.state import KEEP, escape_markdown

LEAD = (
    "All runs on this machine. **A good defence is far down and far to the right**: it removes the backdoor and keeps "
    "the accuracy. Take the figures, a report or the cleaned weights with you."
)
SOURCES = {"runs": "Runs on this machine", "measured": "Measured by this project"}
NO_BAR = {"displayModeBar": False}
WEIGHT_FORMATS = {".safetensors": "safetensors", ".pt": "open_clip checkpoint (.pt)"}


def filter_runs(entries: list[RunRecord]) -> list[RunRecord]:
    """Draw the filters; return the runs that pass."""
    filters: tuple[tuple[str, Callable[[RunRecord], str]], ...] = (
        ("Model", lambda e: e.model),
        ("Attack", lambda e: e.attack or UNKNOWN_ATTACK),
        ("Defence", lambda e: e.defense or NO_DEFENSE),
        ("Seed", lambda e: str(e.seed)),
        ("Sweep", lambda e: e.sweep or ""),
    )
    for column, (name, of) in zip(st.columns(len(filters)), filters, strict=True):
        options = sorted({of(entry) for entry in entries})
        chosen = column.multiselect(
            name,
            options,
            format_func={"Defence": to_defense_label, "Attack": to_attack_label}.get(name, _format_option),
            key=f"compare.{name}",
            placeholder="All",
            **KEEP,
        )
        entries = [entry for entry in entries if not chosen or of(entry) in chosen]
    return entries


def _format_option(option: str) -> str:
    """Return an option of a filter in words; identities of sweeps stand as they are."""
    return to_defense_label(option) if option.isidentifier() else option or "In no sweep"


def show_table(entries: list[RunRecord]) -> None:
    """Draw one row for each run."""
    metrics = list(columns("table"))
    names = {
        "attack": "Attack",
        "target": "Target",
        "defense": "Defence",
        "lr": "Learning rate",
        "seed": "Seed",
        **{metric.csv_name(k): metric.header(k) for metric, k in metrics},
        "n": "n",
        "n_attack": "n attack",
        "protocol": "Protocol",
        "model": "Model",
        "seconds": "Seconds",
        "created": "Made (UTC)",
        "run": "Run",
    }
    table = pd.DataFrame([to_row(entry) for entry in entries])[list(names)].rename(columns=names)
    table["Attack"] = table["Attack"].map(to_attack_label)
    table["Defence"] = table["Defence"].map(to_defense_label)
    styles: dict[str, Any] = {}
    for metric, k in metrics:
        name = metric.header(k)
        table[name] = (100 if metric.is_share else 1) * table[name].astype(float)
        number_format = "%.1f %%" if metric.is_share else "%.4g"
        styles[name] = st.column_config.NumberColumn(format=number_format, help=metric.help)
    made = names["created"]
    table[made] = pd.to_datetime(table[made], utc=True, errors="coerce")
    styles |= {name: st.column_config.NumberColumn(format="localized") for name in ("n", "n attack")}
    styles |= {
        "Learning rate": st.column_config.NumberColumn(format="%g"),
        "Seconds": st.column_config.NumberColumn(format="%.0f"),
        made: st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", timezone="UTC"),
    }
    st.dataframe(table, hide_index=True, width="stretch", column_config=styles)
    shipped = [entry.id for entry in entries if entry.is_shipped]
    st.caption(
        "Intervals stand in the CSV and in the report. A floor is the ASR@1 of the never poisoned model."
        + (
            ""
            if all(entry.is_meaningful(3) for entry in entries)
            else " With fewer than ten classes ASR@3 says little."
        )
        + (f" Shipped example: {escape_markdown(', '.join(shipped))}." if shipped else "")
    )


def show_plots(entries: list[RunRecord]) -> None:
    """Draw the plane of CA and ASR, and attack against defence."""
    points = aggregate.make_run_points(entries)
    if not points:
        st.info("None of these runs has figures of an attack.")
        return
    example = " · with the shipped example" if any(entry.is_shipped for entry in entries) else ""
    st.subheader(f"What each defence costs and brings{example}", anchor=False)
    st.plotly_chart(charts.pareto(points), key="compare.pareto", config=NO_BAR)
    sets = {entry.protocol for entry in entries if entry.metric("asr") is not None}
    if len(sets) > 1:
        st.warning(
            f"These runs were measured in {len(sets)} ways ({'; '.join(map(escape_markdown, sorted(sets)))}): filter them before "
            "you compare.",
            icon=":material/balance:",
        )
    else:
        measured = escape_markdown(sets.pop())
        st.caption(f"Measured on {measured}; bars: 95 % Wilson intervals. The dashed line joins the best trade-offs.")
    st.subheader(f"Attack against defence{example}", anchor=False)
    titles = {row.key: row.card_label(1) for row in aggregate.heatmap_metrics()}
    names = [name for name in titles if aggregate.aggregate_seeds(entries, name)]
    name = (
        st.segmented_control(
            "Figure",
            names,
            default=names[0],
            format_func=titles.__getitem__,
            key="compare.figure",
            **KEEP,
        )
        or names[0]
    )
    st.plotly_chart(
        aggregate.plot_heatmap(aggregate.sort_by_name(entries), str(name)), key="compare.heatmap", config=NO_BAR
    )
    st.caption(aggregate.SEEDS_NOTE)


def show_exports(entries: list[RunRecord]) -> None:
    """Draw the exports."""
    st.subheader("Take it with you", anchor=False)
    one, two, three = st.columns(3)
    one.download_button(
        "Report (HTML)",
        lambda: cache.report_html(entries),
        "report.html",
        "text/html",
        key="compare.html",
        icon=":material/description:",
        width="stretch",
        on_click="ignore",
        help="One file with figures, plots, pictures and settings of the runs in the table. It needs no internet.",
    )
    two.download_button(
        "Figures (CSV)",
        to_csv(entries),
        "runs.csv",
        "text/csv",
        key="compare.csv",
        icon=":material/table:",
        width="stretch",
        on_click="ignore",
    )
    three.download_button(
        "Figures and settings (JSON)",
        to_json(entries),
        "runs.json",
        "application/json",
        key="compare.json",
        icon=":material/data_object:",
        width="stretch",
        on_click="ignore",
    )
    left, middle, right = st.columns([2, 1, 1], vertical_alignment="bottom")
    by_id = {entry.id: entry for entry in entries}
    labels = {entry.id: aggregate.describe_run(entry) for entry in entries}
    chosen = by_id[left.selectbox("Weights of", list(labels), format_func=labels.__getitem__, key="compare.of")]
    forms = cache.weight_formats(chosen.folder)
    form = middle.selectbox(
        "Form",
        forms,
        format_func=WEIGHT_FORMATS.__getitem__,
        key=f"compare.form.{chosen.folder.name}",
        help="open_clip reads its checkpoint with create_model(architecture, pretrained=file); there is one where "
        "open_clip lists the model's architecture, which it does not for the small built-in ones.",
    )
    right.download_button(
        "Weights",
        lambda: export_weights(chosen.folder, str(form)),
        f"{chosen.folder.name}{form}",
        "application/octet-stream",
        key="compare.weights",
        icon=":material/download:",
        width="stretch",
        on_click="ignore",
    )
    if chosen.stage != "defended":
        st.warning(
            "This model is backdoored. Its file says so in its metadata: leave that in, and give it to nobody who "
            "would use it.",
            icon=":material/warning:",
        )


with page("Compare", LEAD):
    runs, own = state.all_runs(), read_benchmark_records()
    source = (
        st.segmented_control(
            "What to compare",
            list(SOURCES),
            default="runs",
            format_func=SOURCES.__getitem__,
            key="compare.source",
            help="Your runs and the example, or the figures that this project's table is made of.",
            **KEEP,
        )
        if own
        else "runs"
    )
    if source == "measured":
        benchmark_results.show(own)
    elif not runs:
        st.info("There are no runs yet. Make one on the Poison page; it takes about a minute.", icon=":material/table:")
        link("Poison", "Go to Poison")
    else:
        shown = filter_runs(runs)
        if not shown:
            st.info("No run passes these filters: take one away.")
        else:
            show_table(shown)
            show_plots(shown)
            show_exports(shown)
