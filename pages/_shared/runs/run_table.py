"""Table of all runs on this machine: edit name, note and tags; restart or delete a run."""

from collections.abc import Iterable
from functools import partial
from hashlib import blake2b
from typing import Any

import pandas as pd
import streamlit as st

from cleaner.labels import format_count, state_label
from cleaner.runs.names import label_job
from cleaner.runs.record import RunRecord
from cleaner.runs.status import STARTABLE
from cleaner.runs.store import annotate, read_entry
from pages._shared.runs import jobs
from pages._shared.runs.cards import metric_columns, warn_of_changed_files
from pages._shared.runs.run_buttons import ask_to_delete, show_resume_button
from pages._shared.shell import times, visitors
from pages._shared.shell.frame import show_error
from pages._shared.shell.wording import escape_markdown


def show_run_table() -> None:
    """Draw the table and, below it, the form and actions of the selected run."""
    local_entries = visitors.view_runs().entries
    entries = local_entries + visitors.view_runs().shipped
    if not entries:
        st.caption(f"No runs in {escape_markdown(visitors.describe_store())}.")
        return
    table, formats = make_table(entries)
    selected = st.dataframe(
        table,
        hide_index=True,
        column_config=formats,
        placeholder="–",
        # A selection is a row number: it ends when runs come, go or change places.
        key=f"run_table.table.{_hash_texts(str(entry.folder) for entry in entries)}",
        on_select="rerun",
        selection_mode="single-row",
    )
    runs, root = format_count(len(local_entries), "runs"), escape_markdown(visitors.describe_store())
    st.caption(f"{runs} in {root}. Select a row to edit or delete a run.")
    if error := jobs.last_error():
        show_error(error)
    if rows := selected["selection"]["rows"]:
        _show_run(entries[rows[0]])


def _hash_texts(texts: Iterable[str]) -> str:
    """Return the end of a key that changes with these texts, so that the widget starts again."""
    return blake2b("\n".join(texts).encode(), digest_size=8).hexdigest()


def make_table(entries: list[RunRecord]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return one row per run, and the formats of the columns."""
    values, formats = metric_columns(entries)
    models = {e.id: e.model for e in entries}
    table = pd.DataFrame(
        {
            "Name": [times.label_run(e) if e.is_shipped else label_job(e) for e in entries],
            "State": [state_label(e.status.state) for e in entries],
            "Stage": [e.stage for e in entries],
            # A defense knows the model of the run that it started from once it is done.
            "Model": [e.model or models.get(e.parent or "", "") for e in entries],
            **{name: values[name] for name in ("CA", "ASR@1")},
            "Tags": [", ".join(e.tags) for e in entries],
            "Created": [times.created_at(e) for e in entries],
            "Run": [e.id for e in entries],
            "Started from": [e.parent or "" for e in entries],
        }
    )
    return table, formats


def _show_run(entry: RunRecord) -> None:
    """Draw the form for name, note and tags of one run, and its actions."""
    key = f"run_table.{entry.folder.name}"
    if entry.is_shipped:
        st.caption("This run is part of the shipped example and cannot be edited or deleted.")
        return
    if entry.status.message:
        st.caption(escape_markdown(entry.status.message))
    warn_of_changed_files(entry)
    notes = _read_notes(entry)
    form_key = f"{key}.{_hash_texts(notes.values())}"  # a box with a key keeps its text when another tab saves one
    with st.form(f"{form_key}.form", border=False):
        left, middle, right = st.columns([2, 3, 2])
        left.text_input("Name", notes["name"], key=f"{form_key}.name", max_chars=80)
        middle.text_input("Note", notes["note"], key=f"{form_key}.note", max_chars=2000)
        right.text_input("Tags", notes["tags"], key=f"{form_key}.tags", help="Comma-separated.")
        st.form_submit_button(
            "Save",
            key=f"{form_key}.save",
            icon=":material/save:",
            on_click=jobs.run_action,
            args=(partial(_save_notes, entry, form_key),),
        )
    delete, start, _ = st.columns([1.3, 1.3, 4])
    if entry.status.state in STARTABLE:
        show_resume_button(start, entry, f"{key}.start")
    ask_to_delete(delete, entry, f"{key}.delete")


def _read_notes(entry: RunRecord) -> dict[str, str]:
    """Return name, note and tags of a run as the form shows them."""
    return {"name": entry.name, "note": entry.note, "tags": ", ".join(entry.tags)}


def _save_notes(entry: RunRecord, key: str) -> None:
    """Save what the user changed in the form; another tab may have changed the rest since it was drawn."""
    shown, stored = _read_notes(entry), _read_notes(read_entry(entry.folder) or entry)
    typed = {field: str(st.session_state[f"{key}.{field}"]) for field in shown}
    notes = {field: stored[field] if typed[field] == shown[field] else typed[field] for field in shown}
    annotate(entry.folder, name=notes["name"], note=notes["note"], tags=notes["tags"].split(","))
