"""This project's own results, to compare runs with."""

import pandas as pd
import streamlit as st

from cleaner.labels import to_attack_label
from cleaner.plots.comparison import attack_defense_heatmap
from cleaner.reports.aggregate import heatmap_title
from cleaner.reports.reference import Reference, ReferenceTable, Spread
from pages._shared.inspect.plotly_charts import NO_MODE_BAR
from pages._shared.shell.state import KEEP, choose_segment
from pages._shared.shell.wording import escape_markdown

METRICS = {"asr": "ASR@1", "ca": "CA", "cf": "CF"}
TITLES = {"cf": "CF: share of images whose caption scores above slightly false ones (higher is better)"}


def show(reference: Reference) -> None:
    """Draw one table: attacks against defenses as a heatmap, then every row with its seeds."""
    tables = {f"{table.title}: {table.model}": table for table in reference.tables}
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    name = left.selectbox("Table", list(tables), key="benchmark.table", **KEEP)
    table = tables[str(name)]
    with right:
        metric = choose_segment("Metric", list(METRICS), format_func=METRICS.__getitem__, key="benchmark.metric")
    cells = {
        (to_attack_label(row.attack), row.label): (*spread, len(row.seeds))
        for row in table.rows
        if (spread := getattr(row, metric)) is not None
    }
    figure = attack_defense_heatmap(cells, TITLES.get(metric) or heatmap_title(metric))
    st.plotly_chart(figure, key="benchmark.heatmap", config=NO_MODE_BAR)
    show_rows(table)


def show_rows(table: ReferenceTable) -> None:
    """Draw the rows of a table and where they come from."""
    frame = pd.DataFrame(
        {
            "Attack": [to_attack_label(row.attack) for row in table.rows],
            "Defense": [row.label + " †" * row.is_over_budget + " ‡" * row.is_on_copy for row in table.rows],
            **{title: [format_spread(getattr(row, key)) for row in table.rows] for key, title in METRICS.items()},
            "Floor": [None if row.floor is None else f"{100 * row.floor:.1f}%" for row in table.rows],
            "Learning rate": [row.lr for row in table.rows],
            "Seeds": [", ".join(map(str, row.seeds)) for row in table.rows],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        placeholder="–",
        column_config={"Learning rate": st.column_config.NumberColumn(format="%g")},
    )
    notes = [
        f"{escape_markdown(table.protocol.replace('`', ''))}.",
        "Mean [minimum, maximum] over the seeds. Floor: ASR@1 of the clean model.",
        f"Each learning rate is the largest that loses at most {100 * table.budget:g} points of validation accuracy; "
        "†: if none does, the most accurate.",
        "TA-Cleaner is a re-implementation from the public description.",
    ]
    if any(row.is_on_copy for row in table.rows):
        notes.append("‡: measured later, on models backdoored again on another type of processor.")
    st.caption(" ".join(notes), help=describe_origin(table))


def describe_origin(table: ReferenceTable) -> str:
    """Return commits, version of the subtexts, devices and file of a table."""
    parts = (
        f"Commits: {', '.join(table.commits) or 'not recorded'}",
        f"Version of the subtexts: {', '.join(table.text_versions)}",
        f"Devices: {', '.join(table.devices) or 'not recorded'}",
        f"File: benchmarks/results/{table.file}",
    )
    return escape_markdown(". ".join(parts))


def format_spread(spread: Spread | None) -> str | None:
    """Return "12.3% [10.1, 15.0]"; None if it was not measured."""
    if spread is None:
        return None
    mean, low, high = (100 * value for value in spread)
    return f"{mean:.1f}% [{low:.1f}, {high:.1f}]"
