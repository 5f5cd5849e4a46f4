"""Hand a waiting run to the worker that has just finished another, so that a queue loads the libraries once.

A run that waits for the device has a small process of its own: each can be canceled, and none ends with another. A
worker that is done writes the file CLAIM into the folder of the next run; the process that waits there names that
worker in status.json and ends. If the worker dies before, the waiting process takes the device as it would alone.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from cleaner.files import read_json, write_json
from cleaner.jobs import locks, process
from cleaner.runs.status import RunState, parse_status, read_status
from cleaner.runs.store import list_entries

CLAIM = "CLAIM"
"""File in the folder of a waiting run that names the worker which takes it over."""
CLAIM_TIMEOUT_SECONDS = 3.0
"""Seconds in which a waiting process must answer a claim."""
ACCEPTED_SECONDS = 60.0
"""Seconds for the answer of a process that has already removed the claim, however busy the machine is."""


class HandedOver(Exception):
    """Another worker executes the run; `worker` has the fields of status.json that identify it."""

    def __init__(self, worker: dict[str, Any]) -> None:
        super().__init__()
        self.worker = worker


def raise_if_claimed(folder: Path) -> None:
    """Raise `HandedOver` if a living worker has claimed the run of a folder."""
    if not (folder / CLAIM).exists():
        return
    worker = parse_status(read_json(folder / CLAIM))
    try:
        (folder / CLAIM).unlink()
    except OSError:  # it was withdrawn meanwhile
        return
    if process.find_process(folder, worker) is not None:
        raise HandedOver({name: getattr(worker, name) for name in ("pid", "started", "start_ticks", "token")})


def claim_next(folder: Path, device: str, token: str) -> Path | None:
    """Return the run of this store that waits longest for the device, taken from its process; None if there is none.

    Call it while the device is locked: otherwise the waiting process takes it. token: an argument in the command line
    of this process, by which it will be found.
    """
    if process.is_distributed() or not process.is_own_argument(token):
        return None
    worker = process.own_identity(token)
    waiting = [
        entry
        for entry in list_entries(folder.parent)
        if entry.status.state == RunState.QUEUED and entry.status.device == device and not entry.status.place
    ]
    for entry in sorted(waiting, key=lambda entry: entry.status.queued):
        if process.has_same_environment(entry.folder, entry.status):
            return entry.folder if _claim(entry.folder, worker) else None
    return None


def _claim(folder: Path, worker: dict[str, Any]) -> bool:
    """Claim a run; return whether its process has answered and ended."""
    write_json(folder / CLAIM, worker)
    if _wait_for_answer(folder, CLAIM_TIMEOUT_SECONDS):
        return True
    try:
        (folder / CLAIM).unlink()
    except FileNotFoundError:  # accepted: without this worker, the run would have no process
        return _wait_for_answer(folder, ACCEPTED_SECONDS)
    return False


def _wait_for_answer(folder: Path, seconds: float) -> bool:
    """Wait until the process of a waiting run has named this one and ended; False if it does not, or is gone."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = read_status(folder)
        if status.state != RunState.QUEUED or not process.is_alive(folder, status):
            return False
        if status.pid == os.getpid():
            with locks.try_lock(folder) as is_free:
                if is_free:
                    return True
        time.sleep(locks.POLL_SECONDS / 8)
    return False
