"""RunSession: a worker's view of its run: writes status and progress, and learns when to stop."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cleaner.files import read_json, write_error, write_text
from cleaner.jobs import local, process, resident, slurm, sweep
from cleaner.runs.progress import PROGRESS_FILE, read_progress
from cleaner.runs.status import ACTIVE, RunState, StateError, read_status, transition
from cleaner.types import Cancelled, CleanerError, Paused, StepReport

if TYPE_CHECKING:
    from cleaner.runs.run import Run

WRITE_SECONDS = 0.5
"""Seconds between two writes of status.json, and between two training steps in progress.jsonl."""
STOP_POLL_SECONDS = 0.2
"""Seconds between two checks for a stop request."""


class RunSession:
    """Keeps the files of a run up to date while a worker executes it."""

    def __init__(self, folder: Path, token: str = "", *, free_since: float = 0.0) -> None:
        """Take over a run.

        token: an argument in the command line of this process, by which it is found. free_since: time at which this
        process had ended its last run.
        """
        self.folder = folder
        self.terminated = threading.Event()
        """Set by SIGTERM or Ctrl-C: pause at the next step."""
        self.has_joined = False
        """Whether the other ranks of the run, if any, train with this process."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._log_times: dict[str, float] = {}
        self._write_time = self._poll_time = 0.0
        before = read_status(folder)
        self.status = replace(
            before,
            state=RunState.QUEUED,
            message="",
            verdict=None,
            stage="",
            eta=0.0,
            begun=0.0,
            host=socket.gethostname(),
            **process.own_identity(token),
            # Started by hand after it had stopped: it does not go before the runs that wait.
            queued=(before.queued if before.state == RunState.QUEUED else 0.0) or time.time(),
            place=slurm.SLURM if os.environ.get(slurm.JOB_VARIABLE) else "",
        )
        self.begun = self.status.started if self.status.place else max(self.status.queued, free_since)
        """When work for this run began: when it was queued, a busy worker took it or its job on a cluster began."""
        self.update_status()

    def update_status(self, **changes: Any) -> None:
        """Write status.json with changed fields; does nothing after a final state was written."""
        with self._lock:
            if self._ended.is_set():
                return
            if not (self.folder / "config.json").exists():
                self._end_process(1, f"{self.folder} was deleted while it trained.")  # a write would recreate it
            self.status = replace(self.status, **changes)
            self._write_time = time.monotonic()
            try:
                transition(self.folder, **asdict(self.status))
            except StateError:  # ended by another process, which took this one for dead
                self._ended.set()
            if self.status.state not in ACTIVE:
                self._ended.set()

    def __call__(self, report: StepReport) -> None:
        """Record a step report (an `on_step` callback); raises `Cancelled` or `Paused` if the run is to stop."""
        self._log(report)
        # Not at each step: a step of a small model takes a few milliseconds.
        is_due = report.step == report.total or time.monotonic() - self._poll_time > STOP_POLL_SECONDS
        stop = self._stop_exception() if is_due or self.terminated.is_set() else None
        if stop or report.step == report.total or time.monotonic() - self._write_time > WRITE_SECONDS:
            self.update_status(stage=report.stage, step=report.step, total=report.total, eta=report.eta)
        if stop:
            raise stop

    def raise_if_stopped(self) -> None:
        """Raise `Cancelled` or `Paused` if the run is to stop."""
        stop = self._stop_exception()
        if stop:
            raise stop

    def write_result(self, run: Run) -> None:
        """Write the finished run and the verdict on its attack."""
        from cleaner.runs.run import write_run

        self.update_status(verdict=run.verdict and list(run.verdict))
        write_run(run, self.folder)
        self.update_status(state=RunState.DONE, eta=0.0)
        local.discard_checkpoint(self.folder)

    def write_canceled(self) -> None:
        """Write that the run was canceled, and delete what it trained."""
        local.discard_training(self.folder)
        self.update_status(**asdict(local.canceled(self.status)))

    def end(self) -> None:
        """Write nothing more."""
        with self._lock:
            self._ended.set()

    def _stop_exception(self) -> type[Cancelled] | None:
        request = local.read_stop_request(self.folder)
        self._poll_time = time.monotonic()
        if request == local.CANCEL:
            return Cancelled
        # Ended: another process has taken this one for dead; the checkpoint may be of use.
        return Paused if request == local.PAUSE or self.terminated.is_set() or self._ended.is_set() else None

    def state_after_pause(self) -> RunState:
        """Return PAUSED, or QUEUED for a job that Slurm stopped and will requeue."""
        by_user = local.read_stop_request(self.folder) == local.PAUSE
        return RunState.QUEUED if self.status.place and not by_user else RunState.PAUSED

    def _log(self, report: StepReport) -> None:
        """Append a report with losses or metrics to progress.jsonl; training steps are thinned out."""
        if not (report.losses or report.metrics):
            return
        is_first = report.stage not in self._log_times
        is_due = report.metrics or report.picture or report.step == report.total
        if not (is_first or is_due or time.monotonic() - self._log_times[report.stage] > WRITE_SECONDS):
            return
        path = self.folder / PROGRESS_FILE
        if is_first:
            self._drop_repeated(path, report)
        try:
            with path.open("a", encoding="utf-8", buffering=1) as file:
                file.write(json.dumps(asdict(report)) + "\n")
        except OSError as error:
            raise write_error(path, error) from error
        self._log_times[report.stage] = time.monotonic()

    def _drop_repeated(self, path: Path, report: StepReport) -> None:
        """Remove the steps that a resumed stage repeats."""
        lines = [
            line for line in read_progress(self.folder) if line["stage"] != report.stage or line["step"] < report.step
        ]
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))

    def monitor(self) -> None:
        """Write heartbeats, and end a canceled run that does not reach its next step; runs in its own thread."""
        cancel_time = None
        while not self._ended.wait(STOP_POLL_SECONDS):
            if local.read_stop_request(self.folder) == local.CANCEL:
                cancel_time = cancel_time or time.monotonic()
                if time.monotonic() - cancel_time > local.CANCEL_GRACE_SECONDS:
                    self._force_cancel()
            elif time.monotonic() - self._write_time > process.HEARTBEAT_SECONDS:
                with suppress(CleanerError):  # if the error lasts, the main thread reports it
                    self.update_status()

    def _force_cancel(self) -> None:
        with self._lock:  # the main thread's writes are not cut: each is atomic or a single line
            if self._ended.is_set():
                return
            try:
                transition(self.folder, **asdict(local.canceled(self.status)))
                local.discard_training(self.folder)
            finally:
                process.kill_children()
                self.start_next_in_sweep()
                resident.pass_on(self.status.token, self.folder.parent)
                self._end_process(0, f"the run in {self.folder} was canceled.")

    def _end_process(self, exit_status: int, reason: str) -> None:
        """End this process at once, as the run that it trains is gone."""
        os._exit(exit_status)

    def start_next_in_sweep(self) -> None:
        """Start the next run of this run's sweep, unless this run was only paused.

        Skipped on a cluster, where each run has its own job, and under torchrun, whose ranks belong to this run alone.
        """
        is_paused = self.terminated.is_set() or local.read_stop_request(self.folder) == local.PAUSE
        if process.is_distributed() or self.status.place or is_paused:
            return
        try:
            if sweep_id := read_json(self.folder / "config.json").get("sweep"):
                sweep.start_next(sweep_id, self.folder.parent)
        except CleanerError as error:
            sys.stderr.write(f"The next run of the sweep was not started: {error}\n")


def describe_error(error: Exception) -> str:
    """Return the message for an error that ended a run: what went wrong, then what to do."""
    from cleaner.training.memory import is_out_of_memory

    if isinstance(error, CleanerError):
        return str(error)
    text = str(error).split("\n")[0][:300]
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_out_of_memory(error)):
        return "There was not enough memory: choose a smaller batch size, or another device."
    if isinstance(error, RuntimeError):
        if process.is_distributed() and any(word in text for word in ("gloo", "NCCL", "peer")):
            return "Another process of this run has ended: see the log, then resume from the last epoch."
        if any(word in text for word in ("CUDA", "cuda", "MPS", "accelerator")):
            return f"The device failed ({text}): resume from the last epoch once it works again."
    return f"Training stopped with an unexpected error ({type(error).__name__}: {text}): see the log."
