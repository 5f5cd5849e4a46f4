"""What the pages know of training beside them: run folders, read anew each time. Nothing here lives in the server.

A refresh, a second tab and a restart of the server see the same files, so they see the same jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import streamlit as st

from cleaner.jobs import local, sweep
from cleaner.jobs.slurm import SlurmResources
from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request
from cleaner.runs.store import ACTIVE, Status, create_run, remove_run_folder
from cleaner.types import CleanerError
from pages._shared.state import to_label

STAGE_LABELS = {
    "render": "Drawing the pictures",
    "check pictures": "Checking the pictures",
    "optimise": "Shaping the trigger",
    "poison": "Poisoning",
    "defend": "Finetuning on clean pairs",
    "evaluate": "Measuring on the test pictures",
}
PAGE_STAGES = {"poison": "backdoored", "defend": "defended"}
"""Page -> stage of the runs that it trains."""
UNFINISHED = (*ACTIVE, "paused", "died")
_LAST_ERROR = "job.error"
_REQUESTED_START = "job.asked"


def start_runs(kind: str, requests: Sequence[Request], cluster: SlurmResources | None = None) -> None:
    """Make a run folder for each request and put them into the queue of this machine, or of a cluster."""
    folders = [create_run(request) for request in _use_cluster_device(requests, cluster)]
    try:
        local.start_all(folders, cluster)
    except CleanerError:
        for folder in folders if cluster else ():
            remove_run_folder(folder)
        raise
    st.session_state[_started_key(kind)] = [folder.name for folder in folders]


def _use_cluster_device(requests: Sequence[Request], cluster: SlurmResources | None) -> Sequence[Request]:
    """Let a job on a cluster take the device that it gets there: the one that was chosen is this machine's."""
    return [replace(r, finetune=replace(r.finetune, device="auto")) for r in requests] if cluster else requests


def start_sweep(kind: str, requests: Sequence[Request], cluster: SlurmResources | None = None) -> None:
    """Start a sweep, or go on with it; its table tells what becomes of its runs."""
    entries = sweep.list_sweep_runs(sweep.start_sweep(_use_cluster_device(requests, cluster), cluster))
    if all(entry.status.state == "done" for entry in entries):
        st.toast("All runs of this sweep are done: add a rate, a seed or a defence.", icon=":material/done_all:")
    st.session_state[_started_key(kind)] = []


def request_start(kind: str, start: Callable[[], None]) -> None:
    """Note that the button of a page was pressed.

    A button's callback, for nothing can interrupt that. The page itself is ended by a click on the menu before it comes
    to its button; then the frame of the next page starts what was asked for, with the settings last drawn.
    """
    st.session_state[_REQUESTED_START] = (kind, start)


def pop_start_request(kind: str) -> bool:
    """Return, once, whether the button of this page was pressed."""
    if st.session_state.get(_REQUESTED_START, ("",))[0] != kind:
        return False
    del st.session_state[_REQUESTED_START]
    return True


def run_pending_start(here: str) -> None:
    """Start what was asked for on a page that was left before it could."""
    kind, start = st.session_state.get(_REQUESTED_START, (here, None))
    if kind != here:
        del st.session_state[_REQUESTED_START]
        run_action(start)


def _started_key(kind: str) -> str:
    return f"{kind}.begun"


def runs_of_page(kind: str) -> list[RunRecord]:
    """Return the runs of a page that are waiting, running, paused or dead, in the order of their start.

    Without those of a sweep that do not run on their cluster: they may be many, and the sweep's table has them.
    """
    mine = [entry for entry in local.poll_entries() if entry.stage == PAGE_STAGES[kind]]
    shown = [e for e in mine if e.status.state in UNFINISHED and not (_is_array_job(e) and e.status.state != "running")]
    return sorted(shown, key=lambda e: (e.status.queued, e.folder.name))


def _is_array_job(entry: RunRecord) -> bool:
    return bool(entry.status.place and entry.sweep)


def active_pages() -> set[str]:
    """Return the kinds ("poison", "defend") that are at work or waiting."""
    stages = {entry.stage for entry in local.poll_entries() if entry.status.state in ACTIVE}
    return {kind for kind, stage in PAGE_STAGES.items() if stage in stages}


def started_runs(kind: str) -> list[RunRecord]:
    """Return what this session started last, in whatever state it is."""
    names = st.session_state.get(_started_key(kind), [])
    return [entry for entry in local.poll_entries() if entry.folder.name in names] if names else []


def job_label(entry: RunRecord) -> str:
    """Return what a job trains, in words."""
    return entry.name or to_label(entry.defense or entry.attack or entry.id)


def describe_progress(status: Status) -> tuple[float, str]:
    """Return the share done of the present stage, and what is being done, in words with the time left."""
    if status.state == "queued":
        if status.place:
            return status.step / max(status.total, 1), status.message.rstrip(".") or "Getting ready"
        return 0.0, "waits for its turn" if status.device else "Getting ready"
    if status.state not in ACTIVE:
        return 1.0 if status.state == "done" else status.step / max(status.total, 1), status.state
    if not status.stage:
        return 0.0, "Getting ready"
    eta = status.eta
    left = "a moment" if eta < 1.5 else f"about {eta:.0f} s" if eta < 90 else f"about {eta / 60:.0f} min"
    what = STAGE_LABELS.get(status.stage, status.stage.capitalize())
    share = min(status.step / max(status.total, 1), 1.0)
    return share, f"{what}: step {status.step:,} of {status.total:,}, {left} left"


def apply(action: Callable[[Path], None], folder: Path) -> None:
    """Do what a button asks for, before the page is drawn."""
    run_action(lambda: action(folder))


def run_action(action: Callable[[], None]) -> None:
    """Do something; bad news is shown by `last_error`."""
    try:
        action()
    except CleanerError as error:
        st.session_state[_LAST_ERROR] = error


def last_error() -> CleanerError | None:
    """Return what went wrong at the last button, once."""
    error: CleanerError | None = st.session_state.pop(_LAST_ERROR, None)
    return error
