"""Jobs: start, watch, cancel, pause and resume a run in a process of its own, here or on a cluster.

All that two processes tell each other is files in the run folder, so that a page, a second tab, a restarted server and
the command line see the same. A process is trusted, and signalled, only after psutil shows the pid's start time and
the run folder in its command line: a pid alone may belong to somebody else by now. On this machine there is one queue
for each device; on a cluster its own queue serves, and the age of a worker's last word takes the place of the pid.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from cleaner.files import REMEDY, cache_root, source_root
from cleaner.jobs import slurm
from cleaner.jobs.slurm import SlurmResources
from cleaner.runs.store import (
    ACTIVE,
    CHECKPOINT_FILE,
    LOG_FILE,
    STARTABLE,
    RunRecord,
    Status,
    last_lines,
    list_entries,
    read_status,
    remove_run_folder,
    write_status,
)
from cleaner.types import CleanerError

CANCEL, PAUSE = "CANCEL", "PAUSE"
"""Files that ask the worker to stop: for good, or to go on later."""
START_TIMEOUT_SECONDS = 60.0
"""How long a process may take from its start to its first word."""
HEARTBEAT_TIMEOUT_SECONDS = 120.0
"""A worker on another machine that has said nothing for so long is taken for dead; workers speak every few seconds."""
KILL_TIMEOUT_SECONDS = 1.6
"""How long a cancelled worker may take to end by itself."""
SLURM_KILL_TIMEOUT_SECONDS = 10.0
"""The same for a worker on a cluster."""
POLL_SECONDS = 0.4


def start(folder: Path, resources: SlurmResources | None = None) -> None:
    """Start a run, or go on with one that was stopped, in a process that outlives this one.

    It starts where `resources` says, else where it was at work last if that is a cluster that can be reached, else here.
    Raises `CleanerError` if it is running or finished, nothing can be written there, or the cluster refuses.
    """
    start_all([folder], resources or slurm.read_last_resources(folder))


def start_all(folders: Sequence[Path], resources: SlurmResources | None = None) -> None:
    """Start runs, on a cluster as one array; where that fails all are as they were before."""
    before = [poll_status(folder) for folder in folders]
    for folder, now in zip(folders, before, strict=True):
        if now.state not in STARTABLE:
            raise CleanerError(f"the run {folder.name} is {now.state}: only a run that was stopped can be started.")
    where = slurm.SLURM if resources else ""
    try:
        for folder, now in zip(folders, before, strict=True):
            _leave_cluster(folder, now)  # a job that has fallen silent may still be there
            write_status(folder, Status("queued", step=now.step, total=now.total, queued=time.time(), place=where))
            for name in (CANCEL, PAUSE):
                (folder / name).unlink(missing_ok=True)
        if resources:
            slurm.submit(folders, resources, _exports())
        else:
            for folder in folders:
                launch(folder)
    except OSError as error:
        raise CleanerError(f"the training cannot be started ({error.strerror}).") from error
    except CleanerError:
        for folder, now in zip(folders, before, strict=True) if resources else ():
            write_status(folder, now)
        raise


def launch(folder: Path) -> None:
    """Start the worker of a run and do not wait for it."""
    with (folder / LOG_FILE).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "cleaner.worker", str(folder.resolve())],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            **_detached(),
        )
    # Somebody must wait for it, or it stays as a zombie after its end.
    threading.Thread(target=process.wait, name=f"wait-{folder.name}", daemon=True).start()


def _environment() -> dict[str, str]:
    """The child imports the same library and works with the same relative paths, for it starts in the same folder."""
    root = str(source_root())
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _exports() -> dict[str, str]:
    """Return what a job on a cluster must know of this process's environment."""
    known = _environment()
    return {name: known[name] for name in known if name == "PYTHONPATH" or name.startswith("CLEANER_")}


def _detached() -> dict[str, Any]:
    """Ctrl-C of the server must not reach the worker."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}


def poll_status(folder: Path) -> Status:
    """Return how far a run is; "died" if its process is gone without a word."""
    status = read_status(folder)
    if status.state not in ACTIVE:
        return status
    if status.place:
        return _poll_slurm_status(folder, status)
    if is_alive(folder, status):
        return status
    return _read_final_status(folder) or replace(status, state="died", message=_explain_death(folder))


def _read_final_status(folder: Path) -> Status | None:
    """Return what became of a run whose process is gone, where that is known."""
    if (again := read_status(folder)).state not in ACTIVE:
        return again  # it ended between the two looks
    if (folder / CANCEL).exists():
        return replace(again, state="cancelled", message="Cancelled.")
    return replace(again, state="paused") if (folder / PAUSE).exists() else None


def _poll_slurm_status(folder: Path, status: Status) -> Status:
    """Return how far a run on a cluster is: its own word while that is fresh, else that of the cluster's queue."""
    silence = time.time() - max(status.updated, status.queued)
    if status.state == "running" and silence < HEARTBEAT_TIMEOUT_SECONDS:
        return status
    job = slurm.read_job_id(folder)
    if not job and silence < START_TIMEOUT_SECONDS:
        return replace(status, message="It is being handed to Slurm.")
    known = slurm.query_job(job) if job else ("", "")
    if known is None and status.state == "queued":
        return replace(status, message=f"Slurm job {job}: the queue does not answer.")
    if known is not None and known[0] and (status.state == "queued" or known[0] != "RUNNING"):
        return replace(status, state="queued", message=f"Slurm job {job} {known[1]}.")
    if (ended := _read_final_status(folder)) is not None:
        return ended
    said = slurm.read_error_tail(folder)
    said = f" Its error log ends: {said}" if said else ""
    if status.state == "running":
        minutes = f"{silence / 60:.0f} min"
        return replace(status, state="died", message=f"Slurm job {job} on {status.host} is silent for {minutes}.{said}")
    if status.pid:  # it has worked, and was told to stop while it could still write
        message = f"Slurm job {job} was ended from outside; it can go on from its last checkpoint.{said}"
        return replace(status, state="paused", message=message)
    return replace(status, state="died", message=f"Slurm job {job} ended before its training began.{said}")


def _explain_death(folder: Path) -> str:
    said = last_lines(folder / LOG_FILE)
    said = f" Its log ends: {said}" if said else ""
    return f"Its process is gone: stopped from outside, out of memory, or the machine was restarted.{said}"


def is_alive(folder: Path, status: Status) -> bool:
    """Return whether the process of an active run is there, or may still be starting."""
    if not status.pid:
        return time.time() - status.queued < START_TIMEOUT_SECONDS
    if status.host != socket.gethostname():
        return time.time() - status.updated < HEARTBEAT_TIMEOUT_SECONDS
    return find_process(folder, status) is not None


def find_process(folder: Path, status: Status) -> psutil.Process | None:
    """Return the run's process on this machine, or None if it is gone or the pid belongs to another one now."""
    try:
        found = psutil.Process(status.pid)
        with found.oneshot():
            if abs(found.create_time() - status.started) > 1 or found.status() == psutil.STATUS_ZOMBIE:
                return None
            named, place = os.path.realpath(folder), found.cwd()
            words = (os.path.realpath(os.path.join(place, word)) for word in found.cmdline())
            return found if named in words else None
    except (psutil.Error, OSError, ValueError):
        return None


def own_start_time() -> float:
    """Return the start time of this process, as `find_process` will compare it."""
    return psutil.Process().create_time()


def kill_children() -> None:
    """End what this process has started, before it ends itself without a word to them."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()


def kill(process: psutil.Process) -> None:
    """End a process and what it has started."""
    for child in [*process.children(recursive=True), process]:
        with suppress(psutil.Error):
            child.kill()


def cancel(folder: Path) -> None:
    """Stop a run for good; its checkpoint goes, its settings stay. The worker ends within two seconds."""
    status = poll_status(folder)
    if status.state == "done":
        raise CleanerError(f"the run {folder.name} is done: there is nothing to cancel.")
    if status.state in ACTIVE or status.place:  # who was silent on a cluster may wake up
        _request_stop(folder, CANCEL)
    if status.state not in ACTIVE or (status.place and status.state == "queued"):
        _cancel_now(folder, status)
        return

    def make_sure() -> None:
        time.sleep(
            SLURM_KILL_TIMEOUT_SECONDS if status.place else KILL_TIMEOUT_SECONDS
        )  # news takes its time on a shared disk
        now = read_status(folder)
        if now.state not in ACTIVE:
            return
        if now.place:
            _cancel_now(folder, now)
        elif now.pid and (found := find_process(folder, now)) is not None:
            kill(found)
            discard_checkpoint(folder)

    threading.Thread(target=make_sure, name=f"cancel-{folder.name}", daemon=True).start()


def _cancel_now(folder: Path, status: Status) -> None:
    """Cancel a run that nobody works on, or whose worker does not hear."""
    if status.place:
        slurm.cancel_job(folder)
    write_status(folder, replace(status, state="cancelled", message="Cancelled."))
    discard_checkpoint(folder)


def pause(folder: Path) -> None:
    """Stop a run at its next step, with a checkpoint to go on from; its device is free then."""
    status = poll_status(folder)
    if status.state not in ACTIVE:
        raise CleanerError(f"the run {folder.name} is not running: there is nothing to pause.")
    _request_stop(folder, PAUSE)
    if status.place and status.state == "queued":
        slurm.cancel_job(folder)
        write_status(folder, replace(status, state="paused", message=""))


def _request_stop(folder: Path, name: str) -> None:
    try:
        (folder / name).touch()
    except OSError as error:
        raise CleanerError(f"{folder} cannot be written ({error.strerror}), so its worker hears nothing.") from error


def read_stop_request(folder: Path) -> str | None:
    """Return CANCEL or PAUSE if the run was asked to stop."""
    return next((name for name in (CANCEL, PAUSE) if (folder / name).exists()), None)


def discard_checkpoint(folder: Path) -> None:
    """Remove the checkpoint and what a killed process left half written."""
    for path in [folder / CHECKPOINT_FILE, *folder.glob(".*.tmp")]:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def delete(folder: Path) -> None:
    """Delete a run that is not at work."""
    now = poll_status(folder)
    if now.state in ACTIVE:
        raise CleanerError(f"the run {folder.name} is at work: cancel it first, then delete it.")
    _leave_cluster(folder, now)
    remove_run_folder(folder)


def _leave_cluster(folder: Path, status: Status) -> None:
    if status.place:
        slurm.cancel_job(folder)
        slurm.remove_submission_files(folder)


def poll_entries(root: Path | None = None) -> list[RunRecord]:
    """Return every run folder, newest first, with its state as it is."""
    return [
        entry.with_status(poll_status(entry.folder)) if entry.status.state in ACTIVE else entry
        for entry in list_entries(root)
    ]


@contextmanager
def try_lock(folder: Path) -> Iterator[bool]:
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
def device_lock(folder: Path, device: str, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold `device` of this machine: one run at a time, in the order of starting. `on_wait` may raise to give up."""
    lock = FileLock(_lock_file(device))
    while True:
        try:
            lock.acquire(timeout=0)
            if not _has_earlier_run(folder, device):
                break
            lock.release()
        except Timeout:
            pass
        except OSError as error:
            raise CleanerError(
                f"the queue cannot be kept in {cache_root()} ({error.strerror}). Set CLEANER_CACHE to a folder that "
                "can be written."
            ) from error
        on_wait()
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


def _has_earlier_run(folder: Path, device: str) -> bool:
    """Return whether a run beside this one has waited longer for the device (or has not said yet for which)."""
    own = read_status(folder)
    for entry in list_entries(folder.parent):
        other = entry.status
        earlier = other.state == "queued" and other.queued < own.queued and other.device in ("", device)
        if earlier and not other.place and is_alive(entry.folder, other):
            return True
    return False
