"""The sweeps of a suspect: a table with one line for each run, and what can be done with all of them."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from cleaner.jobs import local, sweep
from cleaner.runs.record import RunRecord
from cleaner.runs.store import ACTIVE
from pages._shared import cache, jobs, requests
from pages._shared.run_table import STATE_LABELS
from pages._shared.state import escape_markdown, format_percent, to_label


def show(suspect: RunRecord | requests.ExternalModel) -> bool:
    """Draw the sweeps that started from a suspect; return whether one is at work."""
    names = sweep.list_sweep_ids([entry for entry in local.poll_entries() if _started_from(suspect, entry)])
    return any([_show_sweep(name) for name in names])


def _started_from(suspect: RunRecord | requests.ExternalModel, run: RunRecord) -> bool:
    if isinstance(suspect, requests.ExternalModel):
        return cache.is_from_model(run.config, suspect.model)
    return run.started_from(suspect)


def _show_sweep(name: str) -> bool:
    """Draw one sweep, anew each second while it is at work."""
    entries = sweep.list_sweep_runs(name)
    drawn = _active_runs(entries)
    going = sweep.is_active(entries)

    @st.fragment(run_every=1.0 if going else None)
    def watch() -> None:
        now = sweep.list_sweep_runs(name)
        _show_sweep_table(name, now)
        if going and (_active_runs(now) != drawn or not sweep.is_active(now)):
            st.rerun()  # the live curves are those of another run now, or none

    watch()
    return going


def _active_runs(entries: list[RunRecord]) -> set[str]:
    return {entry.folder.name for entry in entries if entry.status.state in ACTIVE}


def _show_sweep_table(name: str, entries: list[RunRecord]) -> None:
    """Draw the table of a sweep and its two buttons."""
    done = sum(entry.status.state == "done" for entry in entries)
    going, seconds = sweep.is_active(entries), sweep.seconds_left(entries)
    left = f", about {max(seconds, 6) / 60:.1f} min left" if going and seconds is not None else ""
    unfinished = {entry.status.state for entry in entries} & {*jobs.UNFINISHED, sweep.WAITING_STATE}
    with st.expander(f"**Sweep** · {done} of {len(entries)} runs done{left}", expanded=bool(unfinished)):
        st.dataframe(
            table(entries),
            hide_index=True,
            width="stretch",
            height=min(36 + 35 * len(entries), 420),
            column_config={
                "Progress": st.column_config.ProgressColumn(format="%d %%", min_value=0, max_value=100),
                "State": st.column_config.TextColumn(width=90),  # the longest word comes later
            },
        )
        if waits := [e.status.message for e in entries if e.status.state in ACTIVE and e.status.message]:
            st.caption(escape_markdown(waits[0]))
        measured = sorted({f"Measured on {e.protocol}." for e in entries if e.status.state == "done"})
        st.caption(escape_markdown(f"Test figures of finished runs only. {' '.join(measured)} {name}"))
        if done == len(entries):
            return
        go_on, cancel, _ = st.columns([1.3, 1.3, 3])
        _button(go_on, "Go on", name, "Goes on with all runs that are not done.", going, sweep.resume, "play_arrow")
        _button(cancel, "Cancel all", name, "Stops all runs that are not done.", not unfinished, sweep.cancel, "cancel")


def _button(
    column: st.delta_generator.DeltaGenerator,
    label: str,
    name: str,
    help: str,
    is_disabled: bool,
    action: Callable[[str], None],
    icon: str,
) -> None:
    column.button(
        label,
        key=f"{name}.{action.__name__}",
        icon=f":material/{icon}:",
        disabled=is_disabled,
        width="stretch",
        help=help,
        on_click=jobs.run_action,
        args=(lambda: action(name),),
    )


def table(entries: list[RunRecord]) -> pd.DataFrame:
    """Return one line for each run; figures of those that are done."""
    waits = {sweep.WAITING_STATE: "waits"}
    return pd.DataFrame(
        [
            {
                "Defence": to_label(row.defense or ""),
                "Learning rate": f"{row.lr:g}",
                "Seed": row.seed,
                "State": waits.get(row.status.state) or STATE_LABELS.get(row.status.state, row.status.state),
                "Progress": round(100 * row.status.progress),
                "CA": _format_metric(row, "ca"),
                "ASR@1": _format_metric(row, "asr"),
                "Run": row.id,
            }
            for row in sweep.make_rows(entries)
        ]
    )


def _format_metric(row: RunRecord, name: str) -> str:
    """Return a test figure; nobody knows the attack success of a trigger that nobody knows."""
    if row.status.state != "done" or not row.metrics:
        return "–"
    value = row.metric(name)
    return "not known" if value is None else format_percent(value)
