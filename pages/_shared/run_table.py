"""All runs on this machine in one table: name, note and tags can be written, and runs deleted."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from cleaner.jobs import local
from cleaner.runs.record import RunRecord
from cleaner.runs.store import STARTABLE, annotate, list_shipped_runs, runs_root
from pages._shared import jobs
from pages._shared.frame import show_error
from pages._shared.state import escape_markdown, format_percent

STATE_LABELS = {
    "new": "not started",
    "queued": "waits",
    "running": "running",
    "paused": "paused",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
    "died": "stopped",
    "unreadable": "cannot be read",
}


def show_run_table() -> None:
    """Draw the table and, for a chosen run, its name, note and tags, and what can be done with it."""
    own = local.poll_entries()
    entries = own + list_shipped_runs()
    if not entries:
        st.caption(f"No runs in {escape_markdown(str(runs_root()))} yet.")
        return
    chosen = st.dataframe(
        table(entries),
        hide_index=True,
        width="stretch",
        height=min(36 + 35 * len(entries), 320),
        key="shelf.table",
        on_select="rerun",
        selection_mode="single-row",
    )
    st.caption(f"{len(own):,} in {escape_markdown(str(runs_root()))}. Tick a row to name, tag or delete a run.")
    if error := jobs.last_error():
        show_error(error)
    rows = [row for row in chosen["selection"]["rows"] if row < len(entries)]
    if rows:
        _show_run(entries[rows[0]])


def table(entries: list[RunRecord]) -> pd.DataFrame:
    """Return what is known of each run; figures only where they were measured."""
    rows = []
    for entry in entries:
        name = entry.label if entry.is_shipped else jobs.job_label(entry)
        rows.append(
            {
                "Name": name,
                "State": STATE_LABELS.get(entry.status.state, entry.status.state),
                "Stage": entry.stage,
                "Model": entry.model,
                "CA": format_percent(entry.metric("ca")),
                "ASR@1": format_percent(entry.metric("asr")),
                "Tags": ", ".join(entry.tags),
                "Made": entry.created_at,
                "Run": entry.id,
                "Defends": entry.parent or "",
            }
        )
    return pd.DataFrame(rows)


def _show_run(entry: RunRecord) -> None:
    """Draw one run: a form for the user's words, and Delete or start, whichever its state allows."""
    key = f"shelf.{entry.folder.name}"
    if entry.is_shipped:
        st.caption("This run came with the project: it can be looked at and defended, but not renamed or deleted.")
        return
    if entry.status.message:
        st.caption(escape_markdown(entry.status.message))
    with st.form(f"{key}.form", border=False):
        left, middle, right = st.columns([2, 3, 2])
        left.text_input("Name", entry.name, key=f"{key}.name", max_chars=80)
        middle.text_input("Note", entry.note, key=f"{key}.note", max_chars=2000)
        tags = ", ".join(entry.tags)
        right.text_input("Tags", tags, key=f"{key}.tags", help="Separated by commas.")
        st.form_submit_button(
            "Keep name, note and tags", icon=":material/save:", on_click=_save_notes, args=(entry.folder, key)
        )
    delete, again, _ = st.columns([1.3, 1.3, 4])
    if entry.status.state in STARTABLE:
        again.button(
            "Start again",
            key=f"{key}.start",
            icon=":material/play_arrow:",
            width="stretch",
            help="Goes on from the last checkpoint, or from the beginning where there is none.",
            on_click=jobs.apply,
            args=(local.start, entry.folder),
        )
    with delete.popover("Delete …", icon=":material/delete:", width="stretch"):
        st.markdown(
            f"Delete **{escape_markdown(entry.folder.name)}** with its model and figures? This cannot be undone."
        )
        st.button("Delete it", key=f"{key}.delete", on_click=jobs.apply, args=(local.delete, entry.folder))


def _save_notes(folder: Path, key: str) -> None:
    """Write what stands in the form."""

    def write(folder: Path) -> None:
        name, note, tags = (str(st.session_state[f"{key}.{field}"]) for field in ("name", "note", "tags"))
        annotate(folder, name=name, note=note, tags=tags.split(","))

    jobs.apply(write, folder)
