"""Run control: start, watch, pause, cancel and delete runs, on this machine or on a Slurm cluster.

Processes communicate only through files in the run folder, so a page, a second tab, a restarted server and the command
line see the same state. On this machine each device has one queue (`locks`); a cluster has its own.
"""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

from cleaner.files import read_json, runs_root, write_error
from cleaner.jobs import locks, process, resident, slurm, slurm_queue
from cleaner.jobs.slurm import SlurmResources
from cleaner.runs.prepared import prepared_trigger_file
from cleaner.runs.progress import PROGRESS_FILE
from cleaner.runs.record import RunRecord
from cleaner.runs.request import Request
from cleaner.runs.status import ACTIVE, STARTABLE, RunState, Status, read_status, transition
from cleaner.runs.store import CHECKPOINT_FILE, LOG_FILE, list_entries, refuse_deleted, remove_run_folder
from cleaner.types import CleanerError

AUTO = "auto"
"""Device of a request for which the worker picks one."""
CANCEL, PAUSE = "CANCEL", "PAUSE"
"""Files in a run folder that tell its worker to stop: without a checkpoint, or with one to resume from."""
CANCEL_GRACE_SECONDS = 1.0
"""Seconds a canceled worker may take to reach its next step before it ends itself."""
KILL_TIMEOUT_SECONDS = CANCEL_GRACE_SECONDS + 0.6
"""Seconds before a canceled worker that did not end itself is killed."""
SLURM_KILL_TIMEOUT_SECONDS = CANCEL_GRACE_SECONDS + 9.0
"""The same on a cluster, whose shared disk delays files."""


def start(folder: Path, resources: SlurmResources | None = None) -> None:
    """Start or resume a run in a process that outlives this one.

    The run goes to the cluster if `resources` are given or its last job was there and Slurm is available, else to this
    machine. Raises `CleanerError` if it is gone, active or done, cannot be written, or Slurm refuses it.
    """
    start_all([folder], resources or slurm.read_last_resources(folder))


def start_all(folders: Sequence[Path], resources: SlurmResources | None = None) -> None:
    """Start runs, on a cluster as one job array; the states of those that cannot start are restored."""
    with locks.try_start_lock():
        for folder in folders:
            refuse_deleted(folder)
        waiting = {folder: poll_status(folder) for folder in folders}
        for folder, status in waiting.items():
            if status.state not in STARTABLE:
                raise CleanerError(f"the run {folder.name} is {status.state}: only a stopped run can be started.")
        try:
            for folder, status in waiting.items():
                _leave_cluster(folder, status)  # a job without heartbeat may still be running
                _mark_queued(folder, status, slurm.SLURM if resources else "")
            if resources:
                slurm.submit(folders, resources, process.exported_environment())
            else:
                for folder in folders:
                    launch(folder)
                    del waiting[folder]
        except (OSError, CleanerError) as error:
            for folder, status in waiting.items():
                with suppress(OSError, CleanerError):
                    transition(folder, **asdict(status))
            if isinstance(error, OSError):
                remedy = "check disk space and permissions."
                raise CleanerError(f"the run cannot start ({error.strerror}): {remedy}") from error
            raise


def _mark_queued(folder: Path, status: Status, place: str) -> None:
    host = "" if place else socket.gethostname()
    queued = Status(RunState.QUEUED, step=status.step, total=status.total, queued=time.time(), host=host, place=place)
    transition(folder, **asdict(queued))
    withdraw_stop_requests(folder)


def withdraw_stop_requests(folder: Path) -> None:
    """Remove the files that told the last worker of a run to stop."""
    for name in (CANCEL, PAUSE):
        (folder / name).unlink(missing_ok=True)


def launch(folder: Path) -> None:
    """Put a queued run into the queue of its device, whose worker takes it; the start lock must be held."""
    device = str((read_json(folder / "config.json").get("finetune") or {}).get("device", AUTO))
    token, known = resident.token_of(folder.parent, device), "" if device == AUTO else device
    transition(folder, RunState.QUEUED, token=token, device=known, gpus=locks.visible_gpus(known))
    resident.ensure(token, folder.parent)


def keep_worker(device: str) -> None:
    """Have a worker ready for the next run, unless a run is active: loading it would slow the run down.

    Runs whose worker is gone, and with it the process that started it, get a new one.
    """
    waiting = [entry for entry in list_entries() if resident.is_waiting(entry.status) and entry.status.token]
    lost = [entry.folder for entry in waiting if not process.is_registered(entry.status.token)]
    if not resident.is_kept() or (has_active_runs() and not lost):
        return
    with locks.try_start_lock():
        for folder in lost:
            if resident.is_waiting(read_status(folder)):
                launch(folder)
        if not lost:
            resident.ensure(resident.token_of(runs_root(), device), runs_root())


def prepare(request: Request) -> None:
    """Have the idle worker that would execute a request render its images."""
    resident.ask_to_prepare(resident.token_of(runs_root(), request.finetune.device), request)


def has_active_runs(root: Path | None = None) -> bool:
    """Return whether a run of this machine is queued or running."""
    return any(entry.status.state in ACTIVE and process.is_here(entry.status) for entry in poll_entries(root))


def count_runs_ahead(entry: RunRecord, entries: Sequence[RunRecord]) -> int:
    """Return how many of `entries` a queued run waits for: the run on its device, and those queued earlier for it."""
    own = entry.status

    def is_ahead(other: Status) -> bool:
        if other.place or other.state not in ACTIVE:
            return False
        if other.host not in ("", own.host):
            return False
        if other.device and own.device and (other.device, other.gpus) != (own.device, own.gpus):
            return False
        return other.state == RunState.RUNNING or other.queued < own.queued

    return sum(is_ahead(other.status) for other in entries if other.folder != entry.folder)


def poll_status(folder: Path) -> Status:
    """Return the status of a run; its state is DIED if its process is gone without having reported an end."""
    status = read_status(folder)
    if status.state not in ACTIVE:
        return status
    if status.place:
        return _poll_slurm_status(folder, status)
    if process.is_alive(folder, status):
        return status
    message = "Its process is gone: killed from outside, out of memory, or the machine restarted."
    return _read_final_status(folder) or replace(
        status, state=RunState.DIED, message=message + process.quote_log_end(folder / LOG_FILE)
    )


def _read_final_status(folder: Path) -> Status | None:
    """Return the final status of a run whose process is gone; None if it died without a known reason."""
    status = read_status(folder)
    if status.state not in ACTIVE:
        return status  # it ended between two reads
    request = read_stop_request(folder)
    if request == CANCEL:
        return canceled(status)
    return replace(status, state=RunState.PAUSED) if request == PAUSE else None


def _poll_slurm_status(folder: Path, status: Status) -> Status:
    """Return the status of a run on a cluster: its own while its heartbeat is fresh, else what Slurm's queue says."""
    # A distance: a clock that was set back must not keep a dead job running until it has caught up.
    silence = abs(time.time() - max(status.updated, status.queued))
    if status.state == RunState.RUNNING and silence < process.HEARTBEAT_TIMEOUT_SECONDS:
        return status
    job = slurm_queue.read_job_id(folder)
    if not job and silence < process.START_TIMEOUT_SECONDS:
        return replace(status, message="It is being submitted to Slurm.")
    answer = slurm_queue.query_job(job) if job else ("", "")
    is_alive = answer is None or answer[0] == "RUNNING"
    if status.state == RunState.RUNNING and is_alive and time.time() < status.updated:
        return status  # the clock of its node is ahead of this one
    if answer is None and status.state == RunState.QUEUED:
        return replace(status, message=f"Slurm job {job}: the queue does not answer.")
    if answer is not None and answer[0] and (status.state == RunState.QUEUED or answer[0] != "RUNNING"):
        return replace(status, state=RunState.QUEUED, message=f"Slurm job {job} {answer[1]}.")
    return _read_final_status(folder) or _explain_slurm_death(folder, status, job, silence)


def _explain_slurm_death(folder: Path, status: Status, job: str, silence: float) -> Status:
    """Return the status of a run on a cluster whose job is gone or has been silent for `silence` seconds."""
    log_end = slurm_queue.quote_error_log_end(folder)
    if status.state == RunState.RUNNING:
        message = f"Slurm job {job} on {status.host} has been silent for {silence / 60:.0f} min.{log_end}"
        return replace(status, state=RunState.DIED, message=message)
    if status.pid:  # it ran, and had time to write its checkpoint before it was ended
        message = f"Slurm job {job} was ended from outside: resume the run from its last checkpoint.{log_end}"
        return replace(status, state=RunState.PAUSED, message=message)
    if not job:
        return replace(status, state=RunState.DIED, message="It was not submitted to Slurm: start it again.")
    return replace(status, state=RunState.DIED, message=f"Slurm job {job} ended before its training began.{log_end}")


def canceled(status: Status) -> Status:
    """Return the status of a run after it was canceled."""
    return replace(status, state=RunState.CANCELLED, message="Canceled.", step=0, total=0, eta=0.0)


def cancel(folder: Path) -> None:
    """Cancel a run; its checkpoint and curves are deleted, its settings stay.

    Returns at once. A worker on this machine ends within 2 seconds, one on a cluster within about 10.
    """
    refuse_deleted(folder)
    status = poll_status(folder)
    if status.state == RunState.DONE:
        raise CleanerError(f"the run {folder.name} is done: there is nothing to cancel.")
    # A silent worker on a cluster may wake up; one that is not found, but works, discards its checkpoint by itself.
    has_worker = _has_hidden_worker(folder, status)
    if status.state in ACTIVE or status.place or has_worker:
        _request_stop(folder, CANCEL)
    if has_worker:
        return
    if status.state not in ACTIVE or (status.place and status.state == RunState.QUEUED):
        _force_cancel(folder, status)
        return
    with _taken_from_queue(folder) as is_taken:
        if is_taken:
            _force_cancel(folder, status)
            return
    timeout = SLURM_KILL_TIMEOUT_SECONDS if status.place else KILL_TIMEOUT_SECONDS
    arguments = folder, status.queued, timeout
    threading.Thread(target=_kill_after, args=arguments, name=f"cancel-{folder.name}", daemon=True).start()


def _has_hidden_worker(folder: Path, status: Status) -> bool:
    """Return whether a run of this machine is locked by a worker, although its process is not found."""
    if status.state in ACTIVE or status.place or read_status(folder).state not in ACTIVE:
        return False
    with locks.try_lock(folder) as is_free:
        return not is_free


def _kill_after(folder: Path, queued: float, seconds: float) -> None:
    """Kill the worker of a canceled run that has not ended after some seconds and was not started again."""
    time.sleep(seconds)
    status = read_status(folder)
    if status.state not in ACTIVE or status.queued != queued:
        return
    if status.place:
        _force_cancel(folder, status)
    elif status.pid and (worker := process.find_process(folder, status)) is not None:
        process.kill(worker)
        discard_training(folder)
        resident.pass_on(status.token, folder.parent)


@contextmanager
def _taken_from_queue(folder: Path) -> Iterator[bool]:
    """Keep workers from a run that none of them has taken; yields False if one has it."""
    with locks.try_lock(folder) as is_free:
        yield is_free and resident.is_waiting(read_status(folder))


def _force_cancel(folder: Path, status: Status) -> None:
    """Cancel a run that has no worker, or whose worker does not respond."""
    if status.place:
        slurm_queue.cancel_job(folder)
    transition(folder, **asdict(canceled(status)))
    discard_training(folder)


def pause(folder: Path) -> None:
    """Stop a run at its next step and keep a checkpoint to resume from; its device becomes free."""
    refuse_deleted(folder)
    status = poll_status(folder)
    if status.state not in ACTIVE:
        raise CleanerError(f"the run {folder.name} is not running: there is nothing to pause.")
    _request_stop(folder, PAUSE)
    if status.place and status.state == RunState.QUEUED:
        slurm_queue.cancel_job(folder)
        transition(folder, RunState.PAUSED, message="")
        return
    with _taken_from_queue(folder) as is_taken:
        if is_taken:
            transition(folder, RunState.PAUSED)


def _request_stop(folder: Path, name: str) -> None:
    try:
        (folder / name).touch()
    except OSError as error:
        raise write_error(folder, error, "Make it writable: its worker is stopped by a file in it.") from error


def read_stop_request(folder: Path) -> str | None:
    """Return CANCEL or PAUSE if the run was asked to stop, else None."""
    return next((name for name in (CANCEL, PAUSE) if (folder / name).exists()), None)


def discard_checkpoint(folder: Path) -> None:
    """Delete the checkpoint, the trigger that belongs to it, and the temporary files of a killed process."""
    checkpoint = folder / CHECKPOINT_FILE
    for path in [checkpoint, prepared_trigger_file(checkpoint), *folder.glob(".*.tmp")]:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def discard_training(folder: Path) -> None:
    """Delete the checkpoint and the curves of a canceled run: started again, it begins at the first step."""
    discard_checkpoint(folder)
    with suppress(OSError):
        (folder / PROGRESS_FILE).unlink(missing_ok=True)


def delete(folder: Path) -> None:
    """Delete a run that is not active."""
    status = poll_status(folder)
    if status.state in ACTIVE:
        raise CleanerError(f"the run {folder.name} is {status.state}: cancel it first, then delete it.")
    if _has_hidden_worker(folder, status):
        raise CleanerError(f"a worker is still running {folder.name}: cancel it first, then delete it.")
    _leave_cluster(folder, status)
    remove_run_folder(folder)


def _leave_cluster(folder: Path, status: Status) -> None:
    if status.place:
        if status.state != RunState.DONE:  # the number of a finished job may be that of another one by now
            slurm_queue.cancel_job(folder)
        slurm_queue.remove_submission_files(folder)


def poll_entries(root: Path | None = None) -> list[RunRecord]:
    """Return all runs, newest first, each with its polled status."""
    return [
        entry.with_status(poll_status(entry.folder)) if entry.status.state in ACTIVE else entry
        for entry in list_entries(root)
    ]
