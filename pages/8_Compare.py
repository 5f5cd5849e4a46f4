"""Compare: all runs in one table and plot, the project's benchmark, and exports."""

from collections.abc import Callable
from functools import partial

import pandas as pd
import streamlit as st

from cleaner.evaluation.result import PROTOCOL_LABELS, WEAK_ASR, columns, success_share
from cleaner.labels import UNKNOWN_ATTACK, to_attack_label
from cleaner.plots import comparison
from cleaner.plots.styles import find_style
from cleaner.reports import aggregate, comparability, equal_accuracy
from cleaner.reports.export import export_weights
from cleaner.reports.reference import read_reference
from cleaner.reports.tables import to_csv, to_json, to_row
from cleaner.runs.names import describe_run, tell_apart
from cleaner.runs.record import RunRecord
from cleaner.runs.store import has_failed_attack
from pages._shared import cache
from pages._shared.inspect.plotly_charts import NO_MODE_BAR
from pages._shared.runs import benchmark_results, cards
from pages._shared.runs.run_buttons import draw_download, show_playground_button
from pages._shared.shell import stage_mode, state, times, wording
from pages._shared.shell.frame import link, page
from pages._shared.shell.state import KEEP
from pages._shared.shell.wording import escape_markdown, format_percent

LEAD = "**The best defense removes the backdoor and keeps the accuracy**."
SOURCES = {"runs": "Runs on this machine", "benchmark": "Project benchmark"}
MAIN_COLUMNS = ("Defense", "Attack", "ASR@1", "n (ASR)", "CA", "n (CA)", "Learning rate", "Seed", "Model", "Run")
"""Columns of the table that are shown at first, after the names of runs."""
WEIGHT_FORMATS = {".safetensors": "safetensors", ".pt": "open_clip checkpoint (.pt)"}
FILTERS: dict[str, tuple[str, Callable[[RunRecord], list[str]]]] = {
    "model": ("Model", lambda e: [e.model]),
    "attack": ("Attack", lambda e: [e.attack or UNKNOWN_ATTACK]),
    "defense": ("Defense", lambda e: [e.defense_variant.key]),
    "seed": ("Seed", lambda e: [str(e.seed)]),
    "sweep": ("Sweep", lambda e: [e.sweep or ""]),
    "tag": ("Tag", lambda e: e.tags),
}
"""Key -> label of a filter, and the values of a run. A run passes if any of its values is selected."""


def filter_runs(entries: list[RunRecord]) -> list[RunRecord]:
    """Draw the filters, folded; return the runs that pass all of them."""
    labels = {entry.defense_variant.key: entry.defense_label for entry in entries}
    formats = {"attack": to_attack_label, "defense": labels.__getitem__}
    passing = entries
    with st.popover("Filter", icon=":material/filter_alt:"):
        for key, (label, read_values) in FILTERS.items():
            # Of all runs: Streamlit would drop the values of this filter that another one leaves no run for.
            options = sorted({value for entry in entries for value in read_values(entry)})
            if not options:  # no run has a tag
                continue
            selected = st.multiselect(
                label,
                options,
                format_func=formats.get(key, lambda option: option or "No sweep"),
                key=f"compare.{key}",
                placeholder="All",
                **KEEP,
            )
            passing = [entry for entry in passing if not selected or {*selected} & {*read_values(entry)}]
    if len(passing) < len(entries):
        st.caption(f"{len(passing)} of {len(entries)} runs", width="content")
    return passing


def show_table(entries: list[RunRecord]) -> None:
    """Draw one row per run: the columns that matter, all of them on demand."""
    names = {
        "name": "Name",
        "attack": "Attack",
        "target": "Target",
        "defense": "Defense",
        "pairs": "Pairs",
        "epochs": "Epochs",
        "poison_rate": "Poison rate",
        "lr": "Learning rate",
        "seed": "Seed",
        **{metric.csv_name(k): metric.header(k) for metric, k in columns("table")},
        "n": "n (CA)",
        "n_attack": "n (ASR)",
        "protocol": "Protocol",
        "model": "Model",
        "seconds": "Seconds",
        "created": "Created",
        "tags": "Tags",
        "note": "Note",
        "run": "Run",
    }
    has_all = st.toggle("All columns", key="compare.all_columns", **KEEP)
    table = pd.DataFrame([to_row(entry) for entry in entries])[list(names)].rename(columns=names)
    marks = [" (attack failed)" if has_failed_attack(entry) else "" for entry in entries]
    shipped = [" (shipped example)" if entry.is_shipped else "" for entry in entries]
    table["Attack"] = table["Attack"].map(to_attack_label) + shipped + marks
    table["Protocol"] = table["Protocol"].map(PROTOCOL_LABELS)
    table["Defense"] = [describe_defense(entry) for entry in entries]
    table["Created"] = pd.to_datetime(table["Created"], utc=True, errors="coerce", format="ISO8601")
    values, formats = cards.metric_columns(entries)
    table = table.assign(**values)
    formats["Created"] = st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", timezone=str(times.reader_zone()))
    formats |= {"Run": st.column_config.TextColumn(width=190)}
    formats |= {"Poison rate": st.column_config.NumberColumn(format="%.3g%%", width=80)}
    formats |= {name: st.column_config.TextColumn(width=90) for name in ("Model", "Target")}
    table["Poison rate"] = 100 * table["Poison rate"].astype(float)
    name_column = ["Name"] if any(entry.name for entry in entries) else []
    shown = list(table) if has_all else [*name_column, *MAIN_COLUMNS]
    st.dataframe(table[shown], hide_index=True, column_config=formats, placeholder="–")
    notes = ["CSV and report contain the intervals."]
    if has_all:
        notes.append("Floor: ASR@1 of the clean model.")
    if not all(entry.is_meaningful(3) for entry in entries):
        notes.append("With fewer than ten classes, chance alone gives an ASR@3 of a third or more.")
    st.caption(" ".join(notes))


def describe_defense(entry: RunRecord) -> str:
    """Return the mark and the label of a run's defense."""
    return f"{find_style(entry.kind).sign} {entry.defense_label}"


def show_tradeoff(entries: list[RunRecord]) -> None:
    """Draw the trade-off of accuracy and attack success."""
    points = aggregate.make_run_points(entries)
    if not points:
        st.info("These runs have no attack metrics.")
        return
    mark = " · with the shipped example" if any(entry.is_shipped for entry in entries) else ""
    st.markdown(f"## Accuracy and attack success{mark}")
    st.plotly_chart(stage_mode.enlarge(comparison.pareto(points)), key="compare.pareto", config=NO_MODE_BAR)
    for note in comparability.list_notes(entries):
        st.warning(escape_markdown(note), icon=":material/balance:")
    st.caption(wording.describe_tradeoff(entries))


def show_heatmap(entries: list[RunRecord]) -> None:
    """Draw the heatmap of attacks and defenses."""
    labels = {metric.key: metric.card_label(1) for metric in aggregate.heatmap_metrics()}
    names = [name for name in labels if aggregate.aggregate_seeds(entries, name)]
    if not names:
        return
    st.header("Attacks and defenses", anchor=False)
    name = state.choose_segment("Metric", names, format_func=labels.__getitem__, key="compare.metric")
    heatmap = aggregate.plot_heatmap(aggregate.sort_by_name(entries), name)
    st.plotly_chart(heatmap, key="compare.heatmap", config=NO_MODE_BAR)
    st.caption(aggregate.SEEDS_NOTE)


def show_equal_accuracy(entries: list[RunRecord]) -> None:
    """Draw the lowest attack success of each defense for the accuracy that may be lost, over its settings and seeds."""
    figure = equal_accuracy.plot(entries, state.all_runs())
    if figure is None:
        return
    st.header(equal_accuracy.TITLE, anchor=False, help=equal_accuracy.NOTE)
    st.plotly_chart(figure, key="compare.equal", config=NO_MODE_BAR)


def show_report_button(entries: list[RunRecord]) -> None:
    """Draw the download of the report."""
    help = "One offline file with metrics, plots, images and settings of the runs in the table."
    make = partial(cache.report_html, entries)
    draw_download("Report (HTML)", make, "report.html", "text/html", key="compare.html", icon="description", help=help)


def show_exports(entries: list[RunRecord]) -> None:
    """Draw the downloads of results and weights."""
    st.header("Export", anchor=False)
    with st.container(horizontal=True):
        if (run := state.current_run()) is not None:
            show_playground_button(run, "compare.playground")
        csv, json = partial(to_csv, entries), partial(to_json, entries)
        draw_download("Results (CSV)", csv, "runs.csv", "text/csv", key="compare.csv", icon="table")
        draw_download("Results (JSON)", json, "runs.json", "application/json", key="compare.json", icon="data_object")
    show_weights_export(entries)


def show_weights_export(entries: list[RunRecord]) -> None:
    """Draw the download of one run's weights."""
    left, middle, right = st.columns([2, 1, 1], vertical_alignment="bottom")
    by_id = {entry.id: entry for entry in entries}
    labels = dict(zip(by_id, tell_apart(entries, describe_run), strict=True))
    run_id = left.selectbox("Weights", list(labels), format_func=labels.__getitem__, key="compare.weights_of", **KEEP)
    entry = by_id[run_id]
    suffix = middle.selectbox(
        "Format",
        cache.weight_formats(entry.folder),
        format_func=WEIGHT_FORMATS.__getitem__,
        key=f"compare.format.{entry.id}",
        help="The .pt checkpoint is for open_clip's create_model and needs an architecture that open_clip lists.",
        **KEEP,
    )
    make, name = partial(export_weights, entry.folder, str(suffix)), f"{entry.id}{suffix}"
    mime = "application/octet-stream"
    with right:
        draw_download("Download", make, name, mime, key="compare.weights", icon="download", width="stretch")
    asr = success_share(entry)
    if entry.stage != "defended" or (asr is not None and asr >= WEAK_ASR):
        what = "was trained on poisoned pairs" if asr is not None and asr < WEAK_ASR else "is backdoored"
        st.warning(
            f"This model {what} (attack success {format_percent(asr)}). Do not share it with anyone who might "
            "deploy it.",
            icon=":material/warning:",
        )


with page("Compare", LEAD, picture=".st-key-compare-pareto"):
    runs, reference = state.all_runs(), read_reference()
    with st.container(horizontal=True, vertical_alignment="center"):
        source = "runs"
        if reference.tables:
            source = state.choose_segment(
                "Source",
                SOURCES,
                key="compare.source",
                help="Runs on this machine with the shipped example, or this project's own results.",
                is_label_hidden=True,
            )
        entries = filter_runs(runs) if source == "runs" and runs else []
        if entries:
            show_report_button(entries)
    if source == "benchmark":
        stage_mode.explain_missing(
            "Stage mode shows runs on this machine: choose them as the source outside stage mode."
        )
        benchmark_results.show(reference)
    elif not runs:
        st.info("No runs yet: train a model on the Poison page.", icon=":material/table:")
        link("Poison", "Go to Poison")
    elif not entries:
        st.info("No run passes these filters: remove one.")
    else:
        show_tradeoff(entries)
        show_table(entries)
        show_equal_accuracy(entries)
        show_heatmap(entries)
        show_exports(entries)
