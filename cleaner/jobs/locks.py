"""Locks: one worker for a run, one command for a folder, one run at a time on a device, first come, first served."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cleaner.files import cache_root, write_error
from cleaner.jobs import process
from cleaner.runs.status import read_status
from cleaner.runs.store import list_entries

POLL_SECONDS = 0.4
"""Seconds between two attempts to get a lock."""


@contextmanager
def try_lock(folder: Path, seconds: float = 0.0) -> Iterator[bool]:
    """Lock a folder for one worker; yields False if another process still holds the lock after `seconds`."""
    lock = FileLock(folder / ".worker.lock")
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def device_lock(folder: Path, device: str, on_wait: Callable[[], None]) -> Iterator[None]:
    """Lock `device` of this machine for a run, in the order of submission; `on_wait` may raise to give up."""
    lock = FileLock(_device_lock_path(device))
    while True:
        try:
            lock.acquire(timeout=0)
            if not _has_earlier_run(folder, device):
                break
            lock.release()
        except Timeout:
            pass
        except OSError as error:
            raise write_error(cache_root(), error, "Set CLEANER_CACHE to a writable folder.") from error
        on_wait()
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def try_device_lock(device: str) -> Iterator[bool]:
    """Lock `device` of this machine for a moment; yields False if a run has it."""
    lock = FileLock(_device_lock_path(device))
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def try_output_lock(folder: Path) -> Iterator[bool]:
    """Lock the folder that a command writes in the end; yields False if another command has locked it.

    The lock is not in the folder, which a job may lock for its worker, and which stays absent after an error. Where the
    cache cannot be written, nothing is locked.
    """
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    try:
        lock = FileLock(_lock_path(f"out-{digest[:16]}"))
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    except OSError:
        yield True
        return
    try:
        yield True
    finally:
        lock.release()


def _device_lock_path(device: str) -> Path:
    # Machines may share the cache, and CUDA_VISIBLE_DEVICES may give each process other GPUs of one machine.
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "") if device.startswith("cuda") else ""
    return _lock_path("-".join(filter(None, (socket.gethostname(), device.replace(":", ""), gpus.replace(",", "_")))))


def _lock_path(name: str) -> Path:
    path = cache_root() / "queues" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _has_earlier_run(folder: Path, device: str) -> bool:
    """Return whether another run of this store was queued earlier for the device, or for one not yet known."""
    queued = read_status(folder).queued
    for entry in list_entries(folder.parent):
        other = entry.status
        is_earlier = other.state == "queued" and other.queued < queued and other.device in ("", device)
        if is_earlier and not other.place and process.is_alive(entry.folder, other):
            return True
    return False
