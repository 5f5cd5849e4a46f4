"""Jobs: start, watch, cancel, pause and resume a run in a process of its own; one queue for each device.

All that two processes tell each other is files in the run folder, so that a page, a second tab, a restarted server and
the command line see the same. A process is trusted, and signalled, only after psutil shows the pid's start time and
the run folder in its command line: a pid alone may belong to somebody else by now.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

import cleaner
from cleaner.files import REMEDY, cache_root
from cleaner.runs import (
    ACTIVE,
    CHECKPOINT,
    LOG,
    STOPPED,
    Entry,
    Status,
    entries,
    read_status,
    remove,
    write_status,
)
from cleaner.types import CleanerError

CANCEL, PAUSE = "CANCEL", "PAUSE"
"""Files that ask the worker to stop: for good, or to go on later."""
START_SECONDS = 60.0
"""How long a process may take from its start to its first word."""
SILENCE_SECONDS = 120.0
"""A worker on another machine that has said nothing for so long is taken for dead; workers speak every few seconds."""
KILL_SECONDS = 1.6
"""How long a cancelled worker may take to end by itself."""
POLL_SECONDS = 0.4


def start(folder: Path) -> None:
    """Start a run, or go on with one that was stopped, in a process that outlives this one.

    Raises `CleanerError` if it is running or finished, or nothing can be written there.
    """
    now = state(folder)
    if now.state not in STOPPED:
        raise CleanerError(f"the run {folder.name} is {now.state}: only a run that was stopped can be started.")
    write_status(folder, Status("queued", step=now.step, total=now.total, queued=time.time()))
    try:
        for name in (CANCEL, PAUSE):
            (folder / name).unlink(missing_ok=True)
        launch(folder)
    except OSError as error:
        raise CleanerError(f"the training cannot be started ({error.strerror}).") from error


def launch(folder: Path) -> None:
    """Start the worker of a run and do not wait for it."""
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "cleaner.worker", str(folder.resolve())],
            env=_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, **_detached(),
        )  # fmt: skip
    # Somebody must wait for it, or it stays as a zombie after its end.
    threading.Thread(target=process.wait, name=f"wait-{folder.name}", daemon=True).start()


def _environment() -> dict[str, str]:
    """The child imports the same library and works with the same relative paths, for it starts in the same folder."""
    root = str(Path(cleaner.__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _detached() -> dict[str, Any]:
    """Ctrl-C of the server must not reach the worker."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}


def state(folder: Path) -> Status:
    """Return how far a run is; "died" if its process is gone without a word."""
    status = read_status(folder)
    if status.state not in ACTIVE or alive(folder, status):
        return status
    if (again := read_status(folder)).state not in ACTIVE:
        return again  # it ended between the two looks
    if (folder / CANCEL).exists():
        return replace(status, state="cancelled", message="Cancelled.")
    if (folder / PAUSE).exists():
        return replace(status, state="paused")
    return replace(status, state="died", message=_last_words(folder))


def _last_words(folder: Path) -> str:
    try:
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    said = f" Its log ends: {lines[-1][:200]}" if lines else ""
    return f"Its process is gone: stopped from outside, out of memory, or the machine was restarted.{said}"


def alive(folder: Path, status: Status) -> bool:
    """Return whether the process of an active run is there, or may still be starting."""
    if not status.pid:
        return time.time() - status.queued < START_SECONDS
    if status.host != socket.gethostname():
        return time.time() - status.updated < SILENCE_SECONDS
    return process(folder, status) is not None


def process(folder: Path, status: Status) -> psutil.Process | None:
    """Return the run's process on this machine, or None if it is gone or the pid belongs to another one now."""
    try:
        found = psutil.Process(status.pid)
        with found.oneshot():
            if abs(found.create_time() - status.started) > 1 or found.status() == psutil.STATUS_ZOMBIE:
                return None
            named = folder.resolve()
            return found if any(Path(found.cwd(), word) == named for word in found.cmdline()) else None
    except (psutil.Error, OSError, ValueError):
        return None


def own_start() -> float:
    """Return the start time of this process, as `process` will compare it."""
    return psutil.Process().create_time()


def end_children() -> None:
    """End what this process has started, before it ends itself without a word to them."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()


def kill(found: psutil.Process) -> None:
    """End a process and what it has started."""
    for child in [*found.children(recursive=True), found]:
        with suppress(psutil.Error):
            child.kill()


def cancel(folder: Path) -> None:
    """Stop a run for good; its checkpoint goes, its settings stay. The worker ends within two seconds."""
    status = state(folder)
    if status.state == "done":
        raise CleanerError(f"the run {folder.name} is done: there is nothing to cancel.")
    if status.state not in ACTIVE:
        write_status(folder, replace(status, state="cancelled", message="Cancelled."))
        discard(folder)
        return
    _ask(folder, CANCEL)

    def make_sure() -> None:
        time.sleep(KILL_SECONDS)
        status = read_status(folder)
        found = process(folder, status) if status.state in ACTIVE and status.pid else None
        if found is not None:
            kill(found)
            discard(folder)

    threading.Thread(target=make_sure, name=f"cancel-{folder.name}", daemon=True).start()


def pause(folder: Path) -> None:
    """Stop a run at its next step, with a checkpoint to go on from; its device is free then."""
    if state(folder).state not in ACTIVE:
        raise CleanerError(f"the run {folder.name} is not running: there is nothing to pause.")
    _ask(folder, PAUSE)


def _ask(folder: Path, name: str) -> None:
    try:
        (folder / name).touch()
    except OSError as error:
        raise CleanerError(f"{folder} cannot be written ({error.strerror}), so its worker hears nothing.") from error


def asked(folder: Path) -> str | None:
    """Return CANCEL or PAUSE if the run was asked to stop."""
    return next((name for name in (CANCEL, PAUSE) if (folder / name).exists()), None)


def discard(folder: Path) -> None:
    """Remove the checkpoint and what a killed process left half written."""
    for path in [folder / CHECKPOINT, *folder.glob(".*.tmp")]:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def delete(folder: Path) -> None:
    """Delete a run that is not at work."""
    if state(folder).state in ACTIVE:
        raise CleanerError(f"the run {folder.name} is at work: cancel it first, then delete it.")
    remove(folder)


def all_entries(root: Path | None = None) -> list[Entry]:
    """Return every run folder, newest first, with its state as it is."""
    return [
        replace(entry, status=state(entry.folder)) if entry.status.state in ACTIVE else entry for entry in entries(root)
    ]


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Hold the run for one worker; False if another one holds it."""
    lock = FileLock(folder / ".worker.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise CleanerError(f"{folder} cannot be written ({error.strerror}). {REMEDY}") from error
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def turn(folder: Path, device: str, wait: Callable[[], None]) -> Iterator[None]:
    """Hold `device` of this machine: one run at a time, in the order of starting. `wait` may raise to give up."""
    lock = FileLock(_lock_file(device))
    while True:
        try:
            lock.acquire(timeout=0)
            if not _others_first(folder, device):
                break
            lock.release()
        except Timeout:
            pass
        except OSError as error:
            raise CleanerError(
                f"the queue cannot be kept in {cache_root()} ({error.strerror}). Set CLEANER_CACHE to a folder that "
                "can be written."
            ) from error
        wait()
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _lock_file(device: str) -> Path:
    # A cache may be shared by machines, and a machine's cards be shared out by CUDA_VISIBLE_DEVICES.
    cards = os.environ.get("CUDA_VISIBLE_DEVICES", "") if device.startswith("cuda") else ""
    name = "-".join(filter(None, (socket.gethostname(), device.replace(":", ""), cards.replace(",", "_"))))
    path = cache_root() / "queues" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _others_first(folder: Path, device: str) -> bool:
    """Return whether a run beside this one has waited longer for the device (or has not said yet for which)."""
    own = read_status(folder)
    for entry in entries(folder.parent):
        other = entry.status
        earlier = other.state == "queued" and other.queued < own.queued and other.device in ("", device)
        if earlier and alive(entry.folder, other):
            return True
    return False
