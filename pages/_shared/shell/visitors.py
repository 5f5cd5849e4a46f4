"""Public mode: what one visitor may start and see. Without it, everybody starts and sees everything."""

import secrets
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from cleaner.access import INSTALL, is_public
from cleaner.jobs import local
from cleaner.runs.folders import runs_root
from cleaner.runs.record import RunRecord
from cleaner.runs.status import ACTIVE, RunState
from cleaner.runs.store import list_shipped_runs
from cleaner.types import CleanerError

PREFIX = "public-"
"""Start of the id of each run of a visitor. Other runs in the store are neither shown nor deleted."""
VISITOR_MINUTES = 15.0
"""Training time of one session; after it, the session starts no more runs."""
RUN_MINUTES = 10.0
"""Time after which a running training is canceled."""
MAX_ACTIVE, MAX_ACTIVE_OF_ALL = 3, 12
"""Runs that one visitor, and all together, may have running or queued."""
KEEP_HOURS = 3.0
"""Age at which a run is deleted."""
SWEEP_SECONDS = 15.0
_OWN, _SECONDS, _VIEW = "visitor.runs", "visitor.seconds", "visitor.view"
_lock = threading.Lock()
_sweeper: threading.Thread | None = None


def new_name() -> str:
    """Return the name of a new run folder, which nobody can guess in public mode; "" lets the store choose."""
    return f"{PREFIX}{secrets.token_hex(8)}" if is_public() else ""


def own_ids() -> set[str]:
    """Return the ids of the runs that the session started, or that its address names; add to them to show more."""
    own: set[str] = st.session_state.setdefault(_OWN, set())
    return own


def adopt(ids: Iterable[str]) -> None:
    """Let the session see the runs that its address names."""
    own_ids().update(run_id for run_id in ids if run_id.startswith(PREFIX))
    held_views().clear()


def select(entries: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the runs that the session may see: in public mode, the shipped ones and its own."""
    if not is_public():
        return list(entries)
    own = own_ids()
    return [entry for entry in entries if entry.is_shipped or entry.id in own]


def poll_entries() -> list[RunRecord]:
    """Return the runs of the store that the session may see, as `local.poll_entries`; note how long they trained."""
    entries = select(local.poll_entries())
    if is_public():
        seconds = _read_seconds()
        for entry in entries:
            status = entry.status
            if status.begun:  # a resumed run begins again
                seconds[f"{entry.id} {status.begun}"] = status.updated - status.begun
    return entries


class RunsView(NamedTuple):
    """The runs the session may see in one page run (`script_run`): newest first, then the example."""

    script_run: object
    entries: list[RunRecord]
    shipped: list[RunRecord]

    @property
    def finished(self) -> list[RunRecord]:
        own = [run for run in self.entries if run.status.state == RunState.DONE]
        ids = {run.id for run in own}
        return own + [run for run in self.shipped if run.status.state == RunState.DONE and run.id not in ids]


def view_runs() -> RunsView:
    """Return the runs of the store, which is read once in each run of a page's script, or of a fragment."""
    context = get_script_run_ctx()
    script_run = object() if context is None else context.cursors
    held = held_views()
    view = next(iter(held), None)
    if view is None or view.script_run is not script_run:
        view = RunsView(script_run, poll_entries(), list_shipped_runs())
        held[:] = [view]
    return view


def held_views() -> list[RunsView]:
    """Return what `view_runs` keeps; without it, it reads the store again."""
    held: list[RunsView] = st.session_state.setdefault(_VIEW, [])
    return held


def _read_seconds() -> dict[str, float]:
    """Return the training time of the session: run and start -> seconds; deleted runs still count."""
    seconds: dict[str, float] = st.session_state.setdefault(_SECONDS, {})
    return seconds


def describe_store() -> str:
    """Return where the runs are; visitors learn nothing about the machine."""
    return "this session" if is_public() else str(runs_root())


def validate_budget(count: int) -> None:
    """Raise `CleanerError` if a visitor may not start this many more runs."""
    if not is_public():
        return
    _start_sweeper()
    own, every = _count_active(poll_entries()), _count_active(local.poll_entries())
    if sum(_read_seconds().values()) >= 60 * VISITOR_MINUTES:
        raise CleanerError(f"Each visitor has {VISITOR_MINUTES:g} minutes of training, and yours are used: {INSTALL}")
    if own + count > MAX_ACTIVE:
        raise CleanerError(f"At most {MAX_ACTIVE} of your trainings may run or wait: choose fewer, or wait.")
    if every + count > MAX_ACTIVE_OF_ALL:
        raise CleanerError(f"Too many visitors are training: try again in some minutes, or {INSTALL}")


def _count_active(entries: Iterable[RunRecord]) -> int:
    return sum(entry.status.state in ACTIVE for entry in entries)


def sweep_runs(now: float) -> None:
    """Cancel the runs of visitors that train for too long, and delete the old ones."""
    for entry in local.poll_entries():
        if not entry.id.startswith(PREFIX):
            continue
        status = entry.status
        with suppress(CleanerError):  # it ended, or was deleted meanwhile
            is_old = now - max(status.updated, entry.modified / 1e9) > 3600 * KEEP_HOURS  # no status yet: just made
            if status.state in ACTIVE and (is_old or (status.begun and now - status.begun > 60 * RUN_MINUTES)):
                local.cancel(entry.folder)
            elif is_old:
                local.delete(entry.folder)


def _start_sweeper() -> None:
    """Start the thread that cleans the store, even while no page is open."""
    global _sweeper
    with _lock:
        if _sweeper is None:
            _sweeper = threading.Thread(target=_sweep_forever, name="visitors", daemon=True)
            _sweeper.start()


def _sweep_forever() -> None:
    while True:
        with suppress(OSError):
            sweep_runs(time.time())
        time.sleep(SWEEP_SECONDS)
