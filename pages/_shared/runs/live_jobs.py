"""Jobs on their page: the start button, progress and curves of active jobs, and stopped or ended ones."""

from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

from cleaner.jobs import local
from cleaner.runs.record import RunRecord
from cleaner.runs.status import ACTIVE, RunState
from pages._shared.runs import jobs
from pages._shared.runs.cards import show_verdict
from pages._shared.runs.curves import show_curves
from pages._shared.runs.run_buttons import ask_to_delete, show_action_button, show_resume_button
from pages._shared.runs.ticker import tick
from pages._shared.shell import wording
from pages._shared.shell.frame import show_error
from pages._shared.shell.wording import escape_markdown

ROW_LAYOUT = [3.4, 1.2, 1.2]


def show_start_button(label: str, kind: str, is_busy: bool, start: Callable[[], None] | None) -> None:
    """Draw the button that starts jobs, disabled if `start` is None; start them once it is pressed."""
    st.button(
        label,
        key=f"{kind}.go",
        type="primary",
        icon=":material/play_arrow:",
        disabled=start is None,
        help="Queued behind the running job." if is_busy else None,
        on_click=jobs.pressed_starts().__setitem__,
        args=(kind, start),
    )
    if kind in jobs.pressed_starts():
        jobs.run_pressed_start(kind, start)
        st.rerun()  # pipeline and lesson were drawn before the start


def show_jobs(kind: str) -> bool:
    """Draw the unfinished jobs of a page; return whether any is active.

    Active jobs redraw themselves every two seconds while the tab is visible; when one ends, the whole page reruns once
    and shows its result.
    """
    if error := jobs.last_error():
        show_error(error)
    entries = jobs.runs_of_page(kind)
    active = [entry for entry in entries if entry.status.state in ACTIVE]
    names = jobs.name_jobs(entries, kind)
    if stopped := [entry for entry in entries if entry.status.state not in ACTIVE]:
        for entry in stopped:
            _show_stopped_job(entry, names[entry.id])
        _watch_stopped_jobs(stopped, f"waiting.{kind}")
    if not active:
        return False

    @st.fragment
    def watch() -> None:
        current = [entry.with_status(local.poll_status(entry.folder)) for entry in active]
        with st.container(border=True):
            st.markdown("**Training** · continues when you leave this page or close the browser")
            for entry in current:
                _show_active_job(entry, names[entry.id])
            folders = {names[entry.id]: entry.folder for entry in current}
            show_curves(folders, [entry.kind for entry in current], f"live.{kind}", is_live=True)
        if jobs.has_error() or not all(entry.status.state in ACTIVE for entry in current):
            st.rerun()

    watch()
    return True


def _show_active_job(entry: RunRecord, name: str) -> None:
    """Draw progress, time left, Pause and Cancel of one job, and its verdict once there is one."""
    status, key = entry.status, f"live.{entry.folder.name}"
    stop_request = local.read_stop_request(entry.folder) if status.state in ACTIVE else None
    share, text = jobs.describe_progress(entry)
    if stop_request is not None:
        text = "canceling …" if stop_request == local.CANCEL else "pausing …"
    bar, left, right = st.columns(ROW_LAYOUT, vertical_alignment="center")
    bar.progress(share, text=escape_markdown(f"{name}: {text}"))
    is_disabled = stop_request is not None or status.state not in ACTIVE
    show_action_button(
        left,
        "Pause",
        partial(local.pause, entry.folder),
        key=f"{key}.pause",
        icon="pause",
        help="Saves a checkpoint; Resume continues from it.",
        is_disabled=is_disabled,
    )
    show_action_button(
        right,
        "Cancel",
        partial(local.cancel, entry.folder),
        key=f"{key}.cancel",
        icon="stop_circle",
        help="Stops the job and deletes its checkpoint and curves.",
        is_disabled=is_disabled,
    )
    show_verdict(status.verdict)


def _show_stopped_job(entry: RunRecord, name: str) -> None:
    """Draw a paused or dead job with Resume and Delete."""
    status, key = entry.status, f"waiting.{entry.folder.name}"
    is_paused = status.state == RunState.PAUSED
    icon = ":material/pause_circle:" if is_paused else ":orange[:material/warning:]"
    step = f" · {jobs.describe_step(status)}" if status.stage else ""
    with st.container(border=True):
        text, left, right = st.columns(ROW_LAYOUT, vertical_alignment="center")
        state = "paused" if is_paused else "stopped"
        text.markdown(f"{icon} **{escape_markdown(name)}** {state}{step}. {escape_markdown(status.message)}")
        show_resume_button(left, entry, f"{key}.resume")
        ask_to_delete(right, entry, f"{key}.delete")


@st.fragment
def _watch_stopped_jobs(entries: Sequence[RunRecord], key: str) -> None:
    """Draw the page again when a job was resumed or deleted elsewhere, as in another tab."""
    if any(local.poll_status(entry.folder).state != entry.status.state for entry in entries):
        st.rerun()
    tick(key)


def show_ended_jobs(kind: str) -> None:
    """Draw the jobs of this session that were canceled or failed."""
    entries = jobs.started_runs(kind)
    names = jobs.name_jobs(entries, kind)
    for entry in entries:
        name, status = escape_markdown(names[entry.id]), entry.status
        if status.state == RunState.FAILED:
            st.error(f"{name}: {escape_markdown(wording.capitalize_message(status.message))}", icon=":material/error:")
        elif status.state == RunState.CANCELLED:
            st.info(f"{name}: canceled. Its settings stay under All runs on Overview.", icon=":material/cancel:")
