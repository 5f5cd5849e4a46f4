"""Resident workers: one process for each device of a run store, which takes its queued runs, oldest first.

A queued run is only a folder whose status names the queue by a token; it has no process. The worker of that queue has
the token in its command line and is registered in a file of the cache, whose modification time tells it to look for
runs. It keeps torch loaded, and ends after idle minutes. Runs in another working folder or environment have a queue of
their own, as a worker reads both at its start; all of them take turns on the device (`locks`).
"""

import hashlib
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

from cleaner.access import PASSWORD
from cleaner.files import FileVersion, cache_root, child_environment, file_version, read_json, write_json
from cleaner.jobs import locks, process
from cleaner.runs.request import Request, load_request
from cleaner.runs.status import RunState, Status
from cleaner.runs.store import LOG_FILE, list_entries
from cleaner.types import CleanerError

OPTION = "--serve"
"""Option of `cleaner.worker`: its arguments are a token, the folder of a run store, and the pid of who starts it."""
SWITCH = "CLEANER_WARM"
"""Environment variable: "0" keeps no worker that waits for runs, to save memory."""
IDLE_SECONDS = 20 * 60.0
"""Seconds without a run and without a call of `ensure` after which a worker ends, to free its memory."""
BELL_SECONDS, SCAN_SECONDS = 0.05, 5.0
"""Seconds between two looks at the registration, and at the runs although nobody has rung."""


def token_of(root: Path, device: str) -> str:
    """Return the token of the queue for a device, as a request names it, in this working folder and environment."""
    environment = {name: value for name, value in child_environment().items() if name != PASSWORD}
    place = [socket.gethostname(), str(root.resolve()), device, os.getcwd(), environment]
    return hashlib.sha256(json.dumps(place, sort_keys=True).encode()).hexdigest()[:32]


def is_kept() -> bool:
    """Return whether workers wait for further runs."""
    return os.environ.get(SWITCH) != "0"


def ensure(token: str, root: Path) -> None:
    """Ring for the worker of a queue; start it if there is none. Call it with the start lock held."""
    if process.is_registered(token):
        with suppress(OSError):
            os.utime(process.registration(token))
        return
    first = find_oldest(token, root)
    log = Path(os.devnull) if first is None else first / LOG_FILE
    arguments = OPTION, token, str(root.resolve()), str(os.getpid())
    at_end = partial(_continue_after_kill, token=token, root=root, first=first)
    started = process.start_detached("cleaner.worker", *arguments, log=log, at_end=at_end)
    if not process.is_registered(token):
        process.register(token, started.pid)


def _continue_after_kill(code: int, *, token: str, root: Path, first: Path | None) -> None:
    """Start a new worker for the runs that wait behind one that was killed, unless that would be killed as well."""
    if code not in (0, 1) and find_oldest(token, root) not in (None, first):
        with locks.try_start_lock():
            ensure(token, root)


def is_waiting(status: Status) -> bool:
    """Return whether a run waits in a queue of this machine and no worker has taken it."""
    is_queued = status.state == RunState.QUEUED and not status.place and not status.pid
    return is_queued and status.host in ("", socket.gethostname())


def list_waiting(token: str, root: Path) -> list[Path]:
    """Return the run folders that wait in a queue, oldest first."""
    waiting = [entry for entry in list_entries(root) if is_waiting(entry.status) and entry.status.token == token]
    return [entry.folder for entry in sorted(waiting, key=lambda entry: entry.status.queued)]


def find_oldest(token: str, root: Path) -> Path | None:
    """Return the run folder that waits longest in a queue; None if it is empty."""
    return next(iter(list_waiting(token, root)), None)


def pass_on(token: str, root: Path) -> None:
    """Unregister this worker before it ends, and start another one for the runs that wait."""
    with locks.try_start_lock():
        process.unregister(token)
        if find_oldest(token, root) is not None:
            ensure(token, root)


def ask_to_prepare(token: str, request: Request) -> None:
    """Have the idle worker of a queue render the images of a request."""
    path, values = _preparation(token), asdict(request)
    with suppress(OSError, CleanerError):  # it only saves time
        if process.is_registered(token) and read_json(path) != values:
            write_json(path, values)
            os.utime(process.registration(token))


def _preparation(token: str) -> Path:
    return cache_root() / "queues" / f"prepare-{token}.json"


class Bell:
    """The side of the worker: waits for runs, and for a request to prepare."""

    def __init__(self, token: str, root: Path, starter: int) -> None:
        self.token, self.root = token, root
        self._has_starter = process.watch(starter)
        self._prepared: FileVersion | None = None
        process.register(token, os.getpid())
        self._heard, self._heard_at = self._listen(), time.monotonic()

    def wait(self) -> bool:
        """Wait until there may be something to do; return False if this worker is to end."""
        end = time.monotonic() + SCAN_SECONDS
        while is_kept() and time.monotonic() < end:
            if (rung := self._listen()) != self._heard:
                self._heard, self._heard_at = rung, time.monotonic()
                return True
            time.sleep(BELL_SECONDS)
        is_needed = self._has_starter() and time.monotonic() - self._heard_at < IDLE_SECONDS
        return is_kept() and is_needed and process.is_registered(self.token, os.getpid())

    def _listen(self) -> int:
        with suppress(OSError):
            return process.registration(self.token).stat().st_mtime_ns
        return 0

    def take_request(self) -> Request | None:
        """Return the request to prepare, if it is a new one."""
        before, self._prepared = self._prepared, file_version(_preparation(self.token))
        if self._prepared not in (None, before):
            with suppress(CleanerError):
                return load_request({"request": read_json(_preparation(self.token))})
        return None

    def has_run(self, *_: object) -> bool:
        """Return whether a run waits; cheap while nobody has rung."""
        return self._listen() != self._heard and find_oldest(self.token, self.root) is not None
