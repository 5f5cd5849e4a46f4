"""The spare worker: a process that has loaded torch, the models and the grammar, and waits for a run.

A server keeps at most one. It reads its orders from its standard input, one JSON object a line: a run to execute, or a
request whose duration to measure (`jobs.timing`). After a run on the processor that is done it waits for the next one;
otherwise it ends. It also ends with its input (the server is gone, or closed it), but finishes its run first. The token
in its command line proves its identity, as the run folder does for a plain worker.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cleaner.files import child_environment
from cleaner.jobs import prediction, process
from cleaner.runs.request import Request
from cleaner.runs.status import RunState, read_status
from cleaner.runs.store import LOG_FILE, list_entries

OPTION = "--spare"
SWITCH = "CLEANER_SPARE"
"""Environment variable: "0" keeps no spare worker, to save memory."""
ASK_SECONDS = 4.0
"""Seconds after which a request that is not repeated is no longer waited for."""
IDLE_SECONDS = 20 * 60.0
"""Seconds without a run and without a call of `ensure` after which a waiting spare is ended, to free its memory."""


@dataclass
class Spare:
    """A waiting worker process, as its server sees it. It serves only in the folder and environment of its start."""

    process: subprocess.Popen[bytes]
    token: str
    cwd: str = field(default_factory=os.getcwd)
    environment: dict[str, str] = field(default_factory=child_environment)
    run: Path | None = None
    """Folder of the last run that it was given."""
    measured: Request | None = None
    """The request that it was to measure last; None once it was given a run, which stops a measurement."""
    timer: threading.Timer = field(default_factory=lambda: threading.Timer(IDLE_SECONDS, dismiss))
    """Ends it after its idle time."""

    def is_ready(self, run: Path | None = None) -> bool:
        """Return whether it waits for a run, and a worker started now would have the same folder and environment.

        run: folder of the run that it is to execute, which may be queued.
        """
        same_place = (self.cwd, self.environment) == (os.getcwd(), child_environment())
        return self.process.poll() is None and same_place and not self._is_busy(run)

    def _is_busy(self, run: Path | None) -> bool:
        """Return whether it has a run, may be taking over one that waits, or is about to end."""
        if self.run is None:
            return False
        others = [entry.status for entry in list_entries(self.run.parent) if entry.folder != run]
        own = [read_status(self.run), *(status for status in others if status.token == self.token)]
        # After any other end than this one it ends itself, and would lose the run.
        has_ended = any((status.state, status.device) != ("done", "cpu") for status in own)
        return has_ended or any(status.state == RunState.QUEUED and not status.place for status in others)

    def record_failure(self) -> None:
        """Record that a request cannot be measured if that killed the process, as it would kill the next one."""
        was_killed = self.process.poll() not in (None, 0)
        if was_killed and self.measured is not None and prediction.predict(self.measured) is None:
            prediction.record(self.measured, None)

    def order(self, value: dict[str, Any]) -> bool:
        """Send an order; return False if the process is gone."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(value).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            return False
        return True

    def restart_idle_time(self) -> None:
        """Start `IDLE_SECONDS` again."""
        self.timer.cancel()
        self.timer = threading.Timer(IDLE_SECONDS, dismiss)
        self.timer.daemon = True
        self.timer.start()

    def dismiss(self) -> None:
        """Close its input: it ends by itself, at once if it has no run, else when the run has ended."""
        assert self.process.stdin is not None
        self.timer.cancel()
        with suppress(OSError):
            self.process.stdin.close()


_lock = threading.Lock()
_spare: Spare | None = None
_asked: dict[str, tuple[Request, float]] = {}


def ensure() -> None:
    """Start a spare unless one is ready, and restart its idle time. Call it only while no run is active."""
    global _spare
    if os.environ.get(SWITCH) == "0":
        return
    with _lock:
        if _spare is not None and not _spare.is_ready():
            _spare.record_failure()
            _spare.dismiss()
            _spare = None
        if _spare is None:
            token = secrets.token_hex(16)
            _spare = Spare(process.start_waiting("cleaner.worker", OPTION, token), token)
        _spare.restart_idle_time()


def dismiss() -> None:
    """End the spare, if there is one, after its run."""
    global _spare
    with _lock:
        spare, _spare = _spare, None
    if spare is not None:
        spare.dismiss()


def is_waiting() -> bool:
    """Return whether a spare is ready for a run."""
    with _lock:
        return _spare is not None and _spare.is_ready()


def execute(folder: Path) -> bool:
    """Hand a run to the spare; return False if there is none that can take it. Its output goes to the run's log."""
    with _lock:
        if _spare is None or not _spare.is_ready(folder):
            return False
        if not _spare.order({"run": str(folder), "log": str(folder / LOG_FILE)}):
            return False
        _spare.run, _spare.measured = folder, None
        _spare.restart_idle_time()
        return True


def measure(request: Request, asker: str = "") -> bool:
    """Have the spare measure the duration of a request; return False if no spare is ready. A run interrupts it.

    Ask again until the result is there. A later request of one `asker` replaces the earlier one, which would stop the
    measurement; that of another asker waits until nobody asks for the present one any more.
    """
    with _lock:
        if _spare is None or not _spare.is_ready():
            return False
        now = time.monotonic()
        _asked[asker] = request, now
        for other in [name for name, (_, asked) in _asked.items() if now - asked > ASK_SECONDS]:
            del _asked[other]
        if any(present == _spare.measured for present, _ in _asked.values()):
            return True
        _spare.measured = request
        return _spare.order({"measure": asdict(request)})
