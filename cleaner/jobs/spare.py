"""The spare worker: a process that has loaded torch, the models and the grammar, and waits for a run.

A server keeps at most one. It reads its orders from its standard input, one JSON object a line: a run to execute,
which ends its wait for good, or a request whose duration to measure (`jobs.timing`). The end of the input (the server
is gone, or closed it) ends a spare without a run; one with a run reads no more. The token in its command line proves
its identity, as the run folder does for a plain worker.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cleaner.files import child_environment
from cleaner.jobs import process
from cleaner.runs.request import Request
from cleaner.runs.store import LOG_FILE

OPTION = "--spare"
SWITCH = "CLEANER_SPARE"
"""Environment variable: "0" keeps no spare worker, to save memory."""
IDLE_SECONDS = 20 * 60.0
"""Seconds without a call of `ensure` after which a waiting spare is ended; it holds about 500 MB."""


@dataclass
class Spare:
    """A waiting worker process, as its server sees it. It serves only in the folder and environment of its start."""

    process: subprocess.Popen[bytes]
    token: str
    cwd: str = field(default_factory=os.getcwd)
    environment: dict[str, str] = field(default_factory=child_environment)

    def is_usable(self) -> bool:
        """Return whether it is alive, and a worker started now would have the same folder and environment."""
        same_place = (self.cwd, self.environment) == (os.getcwd(), child_environment())
        return self.process.poll() is None and same_place

    def order(self, value: dict[str, Any]) -> bool:
        """Send an order; return False if the process is gone."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(value).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            return False
        return True

    def dismiss(self) -> None:
        """Close its input: it ends by itself, at once if it has no run, else when the run has ended."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()


_lock = threading.Lock()
_spare: Spare | None = None
_idle_timer: threading.Timer | None = None
_measured: str = ""


def ensure() -> None:
    """Start a spare unless there is a usable one, and restart its idle time. Call it only while no run is active."""
    global _spare, _idle_timer
    if os.environ.get(SWITCH) == "0":
        return
    with _lock:
        if _spare is not None and not _spare.is_usable():
            _spare.dismiss()
            _spare = None
        if _spare is None:
            token = secrets.token_hex(16)
            _spare = Spare(process.start_waiting("cleaner.worker", OPTION, token), token)
        if _idle_timer is not None:
            _idle_timer.cancel()
        _idle_timer = threading.Timer(IDLE_SECONDS, dismiss)
        _idle_timer.daemon = True
        _idle_timer.start()


def dismiss() -> None:
    """End the spare, if there is one."""
    if (spare := _take()) is not None:
        spare.dismiss()


def is_waiting() -> bool:
    """Return whether a usable spare waits for a run."""
    with _lock:
        return _spare is not None and _spare.is_usable()


def execute(folder: Path) -> bool:
    """Hand a run to the spare; return False if there is none that can take it. Its output goes to the run's log."""
    spare = _take()
    if spare is None:
        return False
    is_sent = spare.is_usable() and spare.order({"run": str(folder), "log": str(folder / LOG_FILE)})
    spare.dismiss()
    return is_sent


def measure(request: Request) -> bool:
    """Have the spare measure the duration of a request; return False if there is no spare. A run interrupts it."""
    global _measured
    text = json.dumps(asdict(request), sort_keys=True)
    with _lock:
        if _spare is None or not _spare.is_usable():
            return False
        key = f"{_spare.token} {text}"
        if key == _measured:
            return True
        _measured = key
        return _spare.order({"measure": asdict(request)})


def _take() -> Spare | None:
    global _spare
    with _lock:
        spare, _spare = _spare, None
        if _idle_timer is not None:
            _idle_timer.cancel()
        return spare
