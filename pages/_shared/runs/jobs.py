"""Start, list and control jobs. Their state is in run folders, so it survives reloads and server restarts.

The session keeps only what its user requested and started.
"""

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import streamlit as st

from cleaner.access import refuse_in_public
from cleaner.jobs import local, process, sweep
from cleaner.jobs.slurm import SlurmResources
from cleaner.labels import format_count, stage_label, state_label
from cleaner.runs.names import label_job, name_rate, name_seed, tell_apart
from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request, load_request
from cleaner.runs.status import ACTIVE, RunState, Status
from cleaner.runs.store import create_run, remove_run_folder
from cleaner.types import CleanerError, StepReport
from pages._shared.shell import state, visitors
from pages._shared.shell.wording import format_rate

PAGE_STAGES = {"poison": "backdoored", "defend": "defended", "detect": "defended"}
"""Kind of job, which is the page that starts it -> stage of its runs."""
UNFINISHED = (*ACTIVE, RunState.PAUSED, RunState.DIED)
_LAST_ERROR = "jobs.last_error"
_PRESSED_STARTS = "jobs.pressed_starts"
_SEEN = "jobs.seen"
_STARTED = "jobs.started"
_PRESS_LOCK = "jobs.press_lock"
_SESSION_LOCK = threading.Lock()
"""Held while a session gets its own lock: `setdefault` alone could give two page runs two of them."""
_QUEUE_LOCK = threading.Lock()
"""Held while runs are compared with those of all sessions and queued."""


def start_runs(kind: str, requests: Sequence[Request], cluster: SlurmResources | None = None) -> None:
    """Create a run folder per request and queue the runs on this machine or a cluster.

    The same training twice gives the same model twice: if another session has started it, this one waits for it, too.
    """
    # Here, as a click on the menu may interrupt any access to the session.
    started, earlier, own = started_ids(), _list_open(kind), visitors.own_ids()
    with _QUEUE_LOCK:
        new, same = split_open(_use_cluster_device(requests, cluster))
        visitors.validate_budget(len(new))
        folders = [create_run(request, name=visitors.new_name()) for request in new]
        own.update(folder.name for folder in folders)
        try:
            local.start_all(folders, cluster)
        except CleanerError:
            for folder in folders if cluster else ():
                remove_run_folder(folder)
            raise
    started[kind] = list(dict.fromkeys([*earlier, *same, *(folder.name for folder in folders)]))
    if same and not new:
        st.toast(
            "This training is already running, queued or paused; its result appears here. Change a setting to start "
            "another.",
            icon=":material/info:",
        )
    elif same:
        count = f"{len(requests) - len(new)} of {len(requests)} trainings"
        st.toast(f"Not started again: {count}, already running, queued or paused.", icon=":material/info:")


def split_open(requests: Sequence[Request]) -> tuple[list[Request], list[str]]:
    """Return the requests that no active or paused run has, and the ids of the runs that have the others."""
    open_requests: list[tuple[Request, str]] = []
    for entry in visitors.poll_entries():
        if entry.status.state in (*ACTIVE, RunState.PAUSED):
            with suppress(CleanerError):  # one that cannot be read is none of them, and says so when it is resumed
                open_requests.append((load_request(entry.config), entry.id))
    known = [request for request, _ in open_requests]
    new = [request for request in requests if request not in known]
    return new, [run_id for request, run_id in open_requests if request in requests]


def _use_cluster_device(requests: Sequence[Request], cluster: SlurmResources | None) -> Sequence[Request]:
    """Set the device to "auto" for a cluster: the chosen device is this machine's."""
    return [replace(r, finetune=replace(r.finetune, device="auto")) for r in requests] if cluster else requests


def start_sweep(kind: str, requests: Sequence[Request], cluster: SlurmResources | None = None) -> None:
    """Start a sweep or continue it; `sweeps.show` draws its runs."""
    refuse_in_public("A sweep")
    started, earlier = started_ids(), _list_open(kind)  # here, as in `start_runs`
    with _QUEUE_LOCK:
        entries = sweep.list_sweep_runs(sweep.start_sweep(_use_cluster_device(requests, cluster), cluster))
    started[kind] = earlier
    if all(entry.status.state == RunState.DONE for entry in entries):
        st.toast("All runs of this sweep are done. Add a rate, a seed or a defense.", icon=":material/done_all:")


def resume(run: RunRecord) -> None:
    """Resume a run; from then on it is one that this session started."""
    started = started_ids()  # here, as in `start_runs`
    visitors.validate_budget(1)
    local.start(run.folder)
    for kind in PAGE_STAGES:
        if is_of_page(run, kind) and run.id not in started.get(kind, []):
            started.setdefault(kind, []).append(run.id)


def find_done(requests: Sequence[Request], cluster: SlurmResources | None = None) -> list[bool]:
    """Return whether each run of a sweep is done, so that `start_sweep` does not train it."""
    return sweep.find_done(_use_cluster_device(requests, cluster))


def pressed_starts() -> dict[str, Callable[[], None] | None]:
    """Return page -> what its start button starts, for the buttons that were pressed.

    The callback of a start button writes to the dict that it was drawn with. It must not write to `st.session_state`:
    a click on the menu interrupts such a write, and the press would be lost. That click also ends the page run before
    it reaches the button; then the frame of the next page starts the job, with the settings drawn last.
    """
    pressed: dict[str, Callable[[], None] | None] = st.session_state.setdefault(_PRESSED_STARTS, {})
    return pressed


def run_pressed_start(kind: str, start: Callable[[], None] | None) -> None:
    """Start the job of a pressed button, if it can start. Interrupted by a click on the menu, it stays pressed."""
    pressed = pressed_starts()
    # When the user opens another page, Streamlit runs it before the old one has stopped.
    with _SESSION_LOCK:
        lock: threading.Lock = st.session_state.setdefault(_PRESS_LOCK, threading.Lock())
    with lock:
        if kind not in pressed:
            return
        try:
            if start is not None:
                start()
        except Exception:  # Streamlit interrupts with a BaseException
            pressed.pop(kind)
            raise
        pressed.pop(kind)


def run_pending_start(page: str) -> None:
    """Start the job of a button that was pressed on another page, left before it could start."""
    for kind, start in pressed_starts().copy().items():
        if kind != page:
            run_action(partial(run_pressed_start, kind, start))


def started_ids() -> dict[str, list[str]]:
    """Return page -> ids of the runs that this session started there last, and of earlier ones (`_list_open`)."""
    started: dict[str, list[str]] = st.session_state.setdefault(_STARTED, {})
    return started


def runs_of_page(kind: str) -> list[RunRecord]:
    """Return the unfinished runs of a page, ordered by start time.

    Omits cluster runs of a sweep unless they are running: they may be many, and the sweep's table lists them.
    """
    entries = [entry for entry in visitors.view_runs().entries if is_of_page(entry, kind)]
    entries = [e for e in entries if e.status.state in UNFINISHED]
    entries = [e for e in entries if e.status.state == RunState.RUNNING or not _is_array_job(e)]
    return sorted(entries, key=lambda e: (e.status.queued, e.folder.name))


def is_of_page(entry: RunRecord, kind: str) -> bool:
    """Return whether runs of this kind start on a page: trainings without flagged pairs on "detect" alone."""
    return entry.stage == PAGE_STAGES[kind] and entry.is_retrained == (kind == "detect")


def _is_array_job(entry: RunRecord) -> bool:
    return bool(entry.status.place and entry.sweep)


def is_own_poisoning(run: RunRecord) -> bool:
    """Return whether this session started a backdoored run: last, or earlier and has seen its result."""
    return run.id in started_ids().get("poison", []) or run.id in st.session_state.get(_SEEN, set())


def count_unfinished_from(run: RunRecord) -> int:
    """Return the number of unfinished defenses and rebound tests of a run."""
    entries = visitors.view_runs().entries
    return sum(entry.status.state in UNFINISHED and entry.started_from(run) for entry in entries)


def active_jobs() -> list[RunRecord]:
    """Return the jobs that are running or queued: those that this session started, if there are any, else all."""
    return own_active_jobs() or _select_active(visitors.view_runs().entries)


def own_active_jobs() -> list[RunRecord]:
    """Return the jobs of this session that are running or queued."""
    return _select_active(_list_started())


def _select_active(entries: Iterable[RunRecord]) -> list[RunRecord]:
    return [entry for entry in entries if entry.status.state in ACTIVE]


def active_pages() -> set[str]:
    """Return the kinds ("poison", "defend", "detect") of the jobs that are running or queued."""
    return pages_of(_select_active(visitors.view_runs().entries))


def pages_of(entries: Iterable[RunRecord]) -> set[str]:
    """Return the kinds of some jobs."""
    return {kind for entry in entries for kind in PAGE_STAGES if is_of_page(entry, kind)}


def is_processor_busy() -> bool:
    """Return whether a job computes on the processor of this machine."""
    running = (entry.status for entry in local.poll_entries() if entry.status.state == RunState.RUNNING)
    return any(status.device == "cpu" and process.is_here(status) for status in running)


def started_runs(kind: str) -> list[RunRecord]:
    """Return the runs of `started_ids`, in any state."""
    names = started_ids().get(kind, [])
    return [entry for entry in visitors.view_runs().entries if entry.id in names] if names else []


def _list_started() -> list[RunRecord]:
    """Return the runs of all kinds that this session started, in any state."""
    return [entry for kind in PAGE_STAGES for entry in started_runs(kind)]


def list_awaited() -> list[str]:
    """Return the ids of the runs that this session started and that have not ended well, or whose result is unseen.

    A failed one stays until the next start: the page keeps saying why it failed.
    """
    return [
        entry.id
        for entry in _list_started()
        if entry.status.state in (*UNFINISHED, RunState.FAILED) or _is_new_result(entry)
    ]


def _list_open(kind: str) -> list[str]:
    """Return the ids of the runs that this session started and that are unfinished, or whose result is unseen."""
    return [e.id for e in started_runs(kind) if e.status.state in UNFINISHED or _is_new_result(e)]


def restore_started(ids: Sequence[str]) -> None:
    """Take over runs that this user started before the page was loaded again."""
    known = [entry for entry in visitors.view_runs().entries if entry.id in ids] if any(ids) else []
    for kind in PAGE_STAGES:
        if found := [entry.id for entry in known if is_of_page(entry, kind)]:
            started_ids()[kind] = found


def list_new_results(kind: str) -> list[RunRecord]:
    """Return the finished runs of this session whose result it has not seen; rebound tests are no results."""
    return [entry for entry in started_runs(kind) if _is_new_result(entry)]


def _is_new_result(entry: RunRecord) -> bool:
    is_result = entry.status.state == RunState.DONE and entry.rebound is None
    return is_result and entry.id not in st.session_state.get(_SEEN, set())


def mark_as_seen(entries: Iterable[RunRecord]) -> None:
    """Note that this session has seen the results of runs."""
    st.session_state[_SEEN] = st.session_state.get(_SEEN, set()) | {entry.id for entry in entries}


def view_new_run() -> None:
    """Put the newest backdoored run that this session has just trained in view, once."""
    if new := list_new_results("poison"):
        state.select_run(new[0].id)
        mark_as_seen(new)


def name_jobs(entries: Sequence[RunRecord], kind: str) -> dict[str, str]:
    """Map run ids to display names.

    Jobs that were queued or running at the same time have different names, also when some of them have ended.
    """
    known = [entry for entry in visitors.view_runs().entries if is_of_page(entry, kind)] if entries else []
    return {entry.id: _name_among([other for other in known if _overlap(entry, other)], entry) for entry in entries}


def _name_among(others: Sequence[RunRecord], entry: RunRecord) -> str:
    """Return the name of a job with the poison rate, learning rate and seed where other ones have its name."""
    jobs = list({other.id: other for other in [entry, *others]}.values())

    def name_poison_rate(record: RunRecord) -> str:
        return "" if record.attack_poison_rate is None else f", {format_rate(record.attack_poison_rate)}"

    return tell_apart(jobs, label_job, name_poison_rate, name_rate, name_seed)[0]


def _overlap(one: RunRecord, other: RunRecord) -> bool:
    """Return whether two jobs were queued or running at the same time."""
    return one.status.queued <= _end(other) and other.status.queued <= _end(one)


def _end(entry: RunRecord) -> float:
    """Return the time at which a job ended; infinity if it has not."""
    return math.inf if entry.status.state in UNFINISHED else entry.status.updated


def describe_progress(entry: RunRecord) -> tuple[float, str]:
    """Return the completed share of the current stage, and a text with stage, step and time left."""
    status = entry.status
    if status.state == RunState.QUEUED:
        if status.place:
            return status.progress, status.message.rstrip(".") or "Starting"
        return 0.0, _describe_place_in_queue(entry) if status.device else "Starting"
    if status.state not in ACTIVE:
        return status.progress, state_label(status.state)
    if not status.stage:
        return 0.0, "Starting"
    return status.progress, f"{describe_step(status)}{describe_time_left(status)}"


def describe_step(status: Status) -> str:
    """Return the stage of a job, with its step: those of reading captions are not those of the training."""
    return f"{stage_label(status.stage)}: step {status.step:,} of {status.total:,}"


def _describe_place_in_queue(entry: RunRecord) -> str:
    ahead = local.count_runs_ahead(entry, local.poll_entries())
    return f"queued, {format_count(ahead, 'runs')} ahead" if ahead else "queued, next"


def describe_time_left(progress: StepReport | Status) -> str:
    """Return ", about 12 s left", or nothing before the first step."""
    return f", {format_left(progress.eta)}" if progress.step else ""


def format_left(seconds: float) -> str:
    """Return "about 12 s left", or "about 3 min left" for a longer time."""
    text = "1 s" if seconds < 1.5 else f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"
    return f"{text} left"


def describe_active(active: Sequence[RunRecord]) -> str:
    """Return in a few words which of some jobs runs, its stage, how long that will take, and how many wait."""
    running = [entry for entry in active if entry.status.state == RunState.RUNNING]
    waiting = f", {len(active) - len(running)} more" if running and len(active) > len(running) else ""
    if not running:
        # A cluster may let jobs wait for hours, and so may the trainings of others.
        if any(entry.status.place or entry.status.device for entry in active):
            first = min(active, key=lambda entry: entry.status.queued)
            return f"{label_job(first)}: {describe_progress(first)[1]}"
        return "Training starts"
    status = running[0].status
    progress = f": {stage_label(status.stage).lower()}{describe_time_left(status)}" if status.stage else " starts"
    return f"{label_job(running[0])}{progress}{waiting}"


def run_action(action: Callable[[], None]) -> None:
    """Run an action; `last_error` returns its error."""
    views = visitors.held_views()  # here, as in `start_runs`
    try:
        action()
    except CleanerError as error:
        st.session_state[_LAST_ERROR] = error
    finally:
        views.clear()


def has_error() -> bool:
    """Return whether an action failed whose error was not shown yet."""
    return _LAST_ERROR in st.session_state


def last_error() -> CleanerError | None:
    """Return the error of the last action, and reset it."""
    error: CleanerError | None = st.session_state.pop(_LAST_ERROR, None)
    return error
