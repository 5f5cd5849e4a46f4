"""Locks: one worker for a run, one command for a folder, one run at a time on a device, first come, first served."""

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cleaner.files import cache_root, write_error
from cleaner.jobs import process
from cleaner.runs.status import RunState, read_status
from cleaner.runs.store import list_entries

POLL_SECONDS = 0.4
"""Seconds between two attempts to get a device."""
START_SECONDS = 10.0
"""Seconds that a start waits for another one, which can wait for Slurm."""


def try_lock(folder: Path, seconds: float = 0.0) -> AbstractContextManager[bool]:
    """Lock a folder for one worker; yields False if another process still holds the lock after `seconds`.

    seconds: below 0, it waits as long as it takes.
    """
    return _try_acquire(FileLock(folder / ".worker.lock"), seconds)


@contextmanager
def device_lock(folder: Path, device: str, on_wait: Callable[[], None]) -> Iterator[None]:
    """Lock `device` of this machine for a run, in the order of submission; `on_wait` may raise to give up."""
    while True:
        with _try_acquire(
            _cache_lock(_name_device(device)), remedy="Set CLEANER_CACHE to a writable folder."
        ) as is_free:
            if is_free and not _has_earlier_run(folder, device):
                yield
                return
        on_wait()
        time.sleep(POLL_SECONDS)


def try_device_lock(device: str) -> AbstractContextManager[bool]:
    """Lock `device` of this machine for a moment; yields False if a run has it."""
    return _try_acquire(_cache_lock(_name_device(device)), if_unwritable=False)


def try_output_lock(folder: Path) -> AbstractContextManager[bool]:
    """Lock the folder that a command writes in the end; yields False if another command has locked it.

    The lock is not in the folder, which a job may lock for its worker, and which stays absent after an error. Where the
    cache cannot be written, nothing is locked.
    """
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    return _try_acquire(_cache_lock(f"out-{digest[:16]}"), if_unwritable=True)


def try_start_lock() -> AbstractContextManager[bool]:
    """Lock the start of runs on this machine; yields False if another start still goes on after `START_SECONDS`.

    Two pages that resume a run at once would start two workers.
    """
    return _try_acquire(_cache_lock("start"), START_SECONDS, if_unwritable=False)


@contextmanager
def _try_acquire(
    lock: FileLock, seconds: float = 0.0, *, if_unwritable: bool | None = None, remedy: str = ""
) -> Iterator[bool]:
    """Hold a lock if it can be acquired within `seconds`; yield whether it is held.

    if_unwritable: what to yield if the file cannot be written; None: raise `CleanerError`, with `remedy`.
    """
    path = Path(lock.lock_file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=seconds)
        is_held = True
    except Timeout:
        is_held = False
    except OSError as error:
        if if_unwritable is None:
            raise write_error(path.parent, error, remedy) from error
        is_held = if_unwritable
    try:
        yield is_held
    finally:
        lock.release()


def _cache_lock(name: str) -> FileLock:
    return FileLock(cache_root() / "queues" / f"{name}.lock")


def visible_gpus(device: str) -> str:
    """Return CUDA_VISIBLE_DEVICES, which may give each process other GPUs of one machine; empty for other devices."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "") if device.startswith("cuda") else ""


def _name_device(device: str) -> str:
    gpus = visible_gpus(device).replace(",", "_")
    return "-".join(filter(None, (socket.gethostname(), device.replace(":", ""), gpus)))  # machines may share the cache


def _has_earlier_run(folder: Path, device: str) -> bool:
    """Return whether another run of this store was queued earlier for the device, or for one not yet known.

    Machines may share the store: a run that waits on another one does not count.
    """
    own, gpus = read_status(folder), visible_gpus(device)
    for entry in list_entries(folder.parent):
        other = entry.status
        is_earlier = other.state == RunState.QUEUED and other.queued < own.queued
        may_share = not other.device or (other.device, other.gpus) == (device, gpus)
        # Without a process, it waits in a queue: this worker takes it next, another one may serve another device.
        is_elsewhere = other.token and not other.pid and (other.token == own.token or not other.device)
        may_come = is_earlier and may_share and not is_elsewhere
        if may_come and process.is_here(other) and process.is_alive(entry.folder, other):
            return True
    return False
