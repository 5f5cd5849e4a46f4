"""The sweeps of a suspect: one table each, with buttons that act on all its runs."""

from functools import partial

import pandas as pd
import streamlit as st

from cleaner.jobs import sweep
from cleaner.labels import state_label
from cleaner.reports import equal_accuracy
from cleaner.runs.names import label_job
from cleaner.runs.record import RunRecord
from cleaner.runs.status import ACTIVE, RunState
from pages._shared.runs import cards, job_requests, jobs
from pages._shared.runs.run_buttons import show_action_button
from pages._shared.runs.ticker import tick
from pages._shared.shell import visitors
from pages._shared.shell.frame import link
from pages._shared.shell.wording import capitalize_message, escape_markdown


def show(suspect: job_requests.Suspect) -> bool:
    """Draw the sweeps that started from a suspect; return whether one is active."""
    entries = [entry for entry in visitors.view_runs().entries if job_requests.is_defense_of(entry, suspect)]
    return any([_show_sweep(name) for name in sweep.list_sweep_ids(entries)])


def _show_sweep(name: str) -> bool:
    """Draw one sweep, again every two seconds while it is active; return whether it is."""
    entries = sweep.list_sweep_runs(name)
    active_runs, is_active = _active_runs(entries), sweep.is_active(entries)

    @st.fragment
    def watch() -> None:
        current = sweep.list_sweep_runs(name)
        is_active_now = sweep.is_active(current)
        _show_sweep_table(name, current)
        if is_active_now:
            tick(f"{name}.tick")
        if jobs.has_error() or is_active_now != is_active or _active_runs(current) != active_runs:
            st.rerun()  # the error and the live curves are outside this fragment

    watch()
    return is_active


def _active_runs(entries: list[RunRecord]) -> set[str]:
    return {entry.folder.name for entry in entries if entry.status.state in ACTIVE}


def _show_sweep_table(name: str, entries: list[RunRecord]) -> None:
    """Draw the table of a sweep and its buttons."""
    done = sum(entry.status.state == RunState.DONE for entry in entries)
    is_active, seconds = sweep.is_active(entries), sweep.seconds_left(entries)
    left = f", {jobs.format_left(seconds)}" if is_active and seconds is not None else ""
    unfinished = {entry.status.state for entry in entries} & {*jobs.UNFINISHED, sweep.WAITING_STATE}
    label = f"**Sweep** · {done} of {len(entries)} runs done{left}"
    key = f"{name}.{'unfinished' if unfinished else 'done'}"  # without one, each change of the label would unfold it
    with st.expander(label, expanded=bool(unfinished), key=key):
        _show_rows(sweep.make_rows(entries))
        if messages := [e.status.message for e in entries if e.status.state in ACTIVE and e.status.message]:
            st.caption(escape_markdown(messages[0]))
        for reason in list_stop_reasons(entries):
            st.caption(f":material/error: {escape_markdown(reason)}")
        protocols = {f"Measured on {e.protocol}." for e in entries if e.status.state == RunState.DONE and e.metrics}
        st.caption(escape_markdown(" ".join(["Metrics of finished runs.", *sorted(protocols), f"Sweep {name}."])))
        if done > 1:
            link("Compare", equal_accuracy.TITLE)
        if done < len(entries):
            left_column, right_column, _ = st.columns([1.3, 1.3, 3])
            help = "Applies to all unfinished runs."
            show_action_button(
                left_column,
                "Resume",
                partial(sweep.resume, name),
                key=f"{name}.resume",
                icon="play_arrow",
                help=help,
                is_disabled=is_active,
            )
            show_action_button(
                right_column,
                "Cancel all",
                partial(sweep.cancel, name),
                key=f"{name}.cancel",
                icon="cancel",
                help=help,
                is_disabled=not unfinished,
            )


def list_stop_reasons(entries: list[RunRecord]) -> list[str]:
    """Return why runs failed or died, each reason once: many runs of a sweep may fail for the same one."""
    stopped = [e for e in entries if e.status.state in (RunState.FAILED, RunState.DIED) and e.status.message]
    return list(dict.fromkeys(f"{label_job(e)}: {capitalize_message(e.status.message)}" for e in stopped))


def _show_rows(rows: list[RunRecord]) -> None:
    """Draw one row per run; metrics of finished runs only."""
    values, formats = cards.metric_columns(rows)
    states = [row.status.state for row in rows]
    table = {
        "Defense": [row.defense_label for row in rows],
        "Learning rate": [row.lr for row in rows],
        "Seed": [row.seed for row in rows],
        "State": ["queued" if state == sweep.WAITING_STATE else state_label(state) for state in states],
        "Progress": [round(100 * row.status.progress) for row in rows],
        "CA": values["CA"],
        "ASR@1": values["ASR@1"],
        "Run": [row.id for row in rows],
    }
    formats["Progress"] = st.column_config.ProgressColumn(format="%d%%", min_value=0, max_value=100)
    formats["State"] = st.column_config.TextColumn(width=90)  # fits the longest state, which may come later
    st.dataframe(pd.DataFrame(table), hide_index=True, column_config=formats, placeholder="–")
