"""Train in the process of a command: a run that others see, can stop and resume, as if a worker trained it."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from cleaner.jobs import local, locks
from cleaner.jobs.execution import LoadSplit, execute_request
from cleaner.jobs.session import RunSession
from cleaner.models.devices import pick_device
from cleaner.runs.folders import run_id
from cleaner.runs.request import Request
from cleaner.runs.run import Run, write_run
from cleaner.runs.status import ACTIVE, read_status
from cleaner.runs.store import CHECKPOINT_FILE, write_request
from cleaner.types import Cancelled, CleanerError, DivergedError, OnStep, Paused, StepReport

STOPPING = "\nStopping at the next step. Ctrl-C again stops at once and loses the steps since the last epoch.\n"
KEPT = "Resume: python -m cleaner runs --resume {run}. Discard: python -m cleaner runs --cancel {run}"


def train_in_foreground(request: Request, folder: Path, load_split: LoadSplit, on_step: OnStep) -> Run:
    """Execute a request in this process and write the run to `folder`, which holds no run yet; return it.

    Ctrl-C, SIGTERM and a pause from elsewhere stop it at its next step with a checkpoint, from which it is resumed like
    any run; so does an error. Where no step was trained, and after a divergence, which would repeat, nothing is left.
    Raises `KeyboardInterrupt`, whose message says how to resume, and `CleanerError`.
    """
    before = set(folder.iterdir()) if folder.exists() else set()
    try:
        write_request(request, folder)
        with locks.try_lock(folder):
            return _train(request, folder, load_split, on_step)
    except BaseException:
        if read_status(folder).state in (*ACTIVE, "new"):
            _remove(set(folder.iterdir()) - before)
        raise


def _train(request: Request, folder: Path, load_split: LoadSplit, on_step: OnStep) -> Run:
    """Execute the request; an error leaves the state active if there is nothing to resume from."""
    session = RunSession(folder, sys.orig_argv[-1])
    session.update_status(state="running", begun=time.time(), device=str(pick_device(request.finetune.device)))
    threading.Thread(target=session.monitor, name="monitor", daemon=True).start()
    checkpoint, kept = folder / CHECKPOINT_FILE, KEPT.format(run=run_id(folder))

    def report(step: StepReport) -> None:
        on_step(step)
        session(step)

    try:
        with _pausing_on_signals(session):
            run = execute_request(request, report, checkpoint=checkpoint, load_split=load_split)
            write_run(run, folder)
        session.update_status(state="done", eta=0.0)
    except (Paused, KeyboardInterrupt):
        if not checkpoint.exists():
            raise KeyboardInterrupt from None
        session.update_status(state="paused", eta=0.0)
        raise KeyboardInterrupt(f"Paused. {kept}") from None
    except Cancelled:
        local.discard_training(folder)
        session.update_status(**asdict(local.canceled(session.status)))
        raise CleanerError(f"the run in {folder} was canceled.") from None
    except Exception as error:
        if isinstance(error, DivergedError) or not checkpoint.exists():
            raise
        session.update_status(state="failed", message=str(error))
        if isinstance(error, CleanerError):
            raise CleanerError(f"{error} Its training is kept. {kept}") from error
        raise
    finally:
        session.end()
    local.discard_checkpoint(folder)
    return run


@contextmanager
def _pausing_on_signals(session: RunSession) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM pause the run, and the second interrupt it."""

    def stop(*_: object) -> None:
        if session.terminated.is_set():
            raise KeyboardInterrupt
        session.terminated.set()
        sys.stderr.write(STOPPING)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remove(paths: set[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
