"""Work in the background of the server, in a thread that all sessions share; training is work of a run folder."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from typing import Any

from streamlit.runtime.scriptrunner import get_script_run_ctx

from cleaner.access import refuse_in_public
from cleaner.types import Cancelled, OnStep, StepReport

WorkKey = tuple[str, ...]
Compute = Callable[["BackgroundWork"], object]
"""What a work computes; it gets the work as its `on_step`."""
MAX_ENDED = 16
"""Ended works that are kept with their results."""
EXIT_SECONDS = 30.0
WAIT_SECONDS = 0.3
"""Seconds between two looks at the work that a session waits for."""
THREAD = "page-work"
"""Name of the threads."""
_works: dict[WorkKey, BackgroundWork] = {}
_lock = threading.Lock()


class BackgroundWork:
    """One work in its own thread. It is the `on_step` that the work calls, which ends a canceled one.

    after: the work that it replaces, which may still compute after it was canceled and ends first.

    Attributes:
        sessions: ids of the sessions that wait for it; "" for all.
        report: the newest progress.
        preview: the newest report with an image of the work in progress.
        result: what the work returned.
        error: what it raised.
        is_stopping: whether the user has canceled it.
        is_canceled: whether it ended because of that.
    """

    def __init__(self, compute: Compute, after: BackgroundWork | None = None, name: str = THREAD) -> None:
        self.report: StepReport | None = None
        self.preview: StepReport | None = None
        self.result: object = None
        self.error: Exception | None = None
        self.is_stopping = self.is_canceled = False
        self.sessions: set[str] = set()
        self._after = after
        self._thread = threading.Thread(target=self._run, args=(compute,), name=name, daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def cancel(self) -> None:
        """End the work at its next report, and the one that it waits for."""
        self.is_stopping = True
        if (after := self._after) is not None:
            after.cancel()

    def leave(self, session: str) -> None:
        """Cancel the work for one session; it ends if no other one waits for it."""
        self.sessions.discard(session)
        if not self.sessions:
            self.cancel()

    def is_awaited_by(self, session: str) -> bool:
        """Return whether the work goes on for a session, or is ending."""
        return self.is_running and (self.is_stopping or session in self.sessions)

    def join(self, seconds: float | None = None) -> None:
        """Wait until the work has ended, or for some seconds."""
        self._thread.join(seconds)

    def __call__(self, report: StepReport) -> None:
        """Keep a report; raise `Cancelled` if the work is to end."""
        if threading.current_thread() is not self._thread:  # cached data keep this callback for other work
            return
        self.report = report
        if report.picture:
            self.preview = report
        if self.is_stopping:
            raise Cancelled

    def _run(self, compute: Compute) -> None:
        try:
            if self._after is not None:
                self._after.join()
                self._after = None
            if self.is_stopping:
                raise Cancelled
            self.result = compute(self)
        except Cancelled:
            self.is_canceled = True
        except Exception as error:
            self.error = error


def start_search(key: WorkKey, compute: Compute, session: str = "") -> BackgroundWork:
    """Start a work as `start_work`; refused in public mode."""
    refuse_in_public("This search")
    return start_work(key, compute, session)


def start_work(key: WorkKey, compute: Compute, session: str = "") -> BackgroundWork:
    """Start a work unless it runs; restart it if it has finished, or once a canceled one has."""
    with _lock:
        if (work := _works.pop(key, None)) is None or work.is_stopping or not work.is_running:
            work = BackgroundWork(compute, after=work)
        work.sessions.add(session)
        _works[key] = work  # the newest is last
        ended = [other for other, work in _works.items() if not work.is_running]
        for other in ended[:-MAX_ENDED]:
            del _works[other]
        return work


def queue_work(key: WorkKey, compute: Compute) -> None:
    """Start a work once the earlier ones of its key have ended."""
    with _lock:
        _works[key] = BackgroundWork(compute, after=_works.pop(key, None), name=key[0])


def wait_for_work(key: WorkKey, compute: Compute, on_step: OnStep) -> Any:
    """Return a shared work's result; it is canceled when no session waits. `on_step` may end the wait."""
    session = session_id()
    work = start_work(key, compute, session)
    try:
        while work.is_running:
            work.join(WAIT_SECONDS)
            if work.report is not None:
                on_step(work.report)
    except BaseException:  # Streamlit ends a page run with one
        work.leave(session)
        raise
    if work.error is not None:
        raise work.error
    return work.result


def session_id() -> str:
    """Return the id of the session whose page runs; "" outside of any."""
    context = get_script_run_ctx()
    return context.session_id if context else ""


def find_work(key: WorkKey) -> BackgroundWork | None:
    """Return the work that was started under a key, running or ended."""
    return _works.get(key)


@atexit.register
def _end() -> None:
    """Let running works end: a thread that is still inside torch would abort the interpreter's exit."""
    for work in list(_works.values()):
        work.cancel()
    for work in list(_works.values()):
        work.join(EXIT_SECONDS)
