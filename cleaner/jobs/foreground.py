"""Train in the process of a command, as a run that others see and stop, and that can be resumed."""

import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cleaner.command_line import cleaner_command
from cleaner.files import write_text
from cleaner.jobs import locks
from cleaner.jobs.execution import LoadSplit, execute_request
from cleaner.jobs.session import RunSession, describe_error
from cleaner.models.devices import pick_device
from cleaner.runs.folders import run_id
from cleaner.runs.prepared import prepared_trigger_file
from cleaner.runs.request import Request
from cleaner.runs.run import Run
from cleaner.runs.status import RunState, read_status
from cleaner.runs.store import CHECKPOINT_FILE, LOG_FILE, write_request
from cleaner.types import TRAINING_STAGES, Cancelled, CleanerError, DivergedError, OnStep, Paused, StepReport

STOPPING = "\nStopping at the next step. Again: at once, without the steps since the last epoch.\n"
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class ForegroundSession(RunSession):
    """Keeps the files of a run up to date while a command executes it.

    Attributes:
        has_trained: whether a step was trained, which a stop then keeps.
    """

    def __init__(self, folder: Path, on_step: OnStep) -> None:
        super().__init__(folder, sys.orig_argv[-1])
        self._on_step, self.has_trained = on_step, False

    def __call__(self, report: StepReport) -> None:
        self._on_step(report)
        self.has_trained = self.has_trained or report.stage in TRAINING_STAGES
        super().__call__(report)

    def _end_process(self, exit_status: int, reason: str) -> None:
        _write_stderr(f"error: {reason}\n")
        os._exit(max(exit_status, 2))


def train_in_foreground(request: Request, folder: Path, load_split: LoadSplit, on_step: OnStep) -> Run:
    """Train a run in this process, write it to `folder`, which must not hold one yet, and return it.

    Ctrl-C, SIGTERM, SIGHUP and a pause from elsewhere stop it at its next step with a checkpoint, from which it is
    resumed like any run; so is one that fails. Nothing is left where there is nothing to resume: no trigger was
    optimized and no step was trained, or the training diverged, which it would do again. The run does not wait for the
    device, and its duration does not serve for forecasts, as its data were loaded before.

    Raises `KeyboardInterrupt`, whose message says how to resume, and `CleanerError`.
    """
    before = set(folder.iterdir()) if folder.exists() else None
    try:
        write_request(request, folder)
        with locks.try_lock(folder):
            return _train(request, folder, load_split, on_step)
    except BaseException as error:
        # Not the state: it may be that it could not be written.
        if not _is_resumable(folder, error) and read_status(folder).state != RunState.CANCELLED:
            _remove(folder, before)
        raise


def _train(request: Request, folder: Path, load_split: LoadSplit, on_step: OnStep) -> Run:
    session = ForegroundSession(folder, on_step)
    session.update_status(state=RunState.RUNNING, begun=time.time(), device=str(pick_device(request.finetune.device)))
    threading.Thread(target=session.monitor, name="monitor", daemon=True).start()
    with _pausing_on_signals(session):
        try:
            run = execute_request(request, session, checkpoint=folder / CHECKPOINT_FILE, load_split=load_split)
            session.write_result(run)
            return run
        except (Paused, KeyboardInterrupt) as error:
            if not _is_resumable(folder, error):
                raise KeyboardInterrupt from None
            session.update_status(state=RunState.PAUSED, eta=0.0)
            raise KeyboardInterrupt(f"Paused. {_describe_choice(folder)}") from None
        except Cancelled:
            session.write_canceled()
            raise CleanerError(f"the run in {folder} was canceled.") from None
        except Exception as error:
            if _is_resumable(folder, error):
                _write_stderr(f"The training is kept. {_describe_choice(folder)}\n")
                _record_failure(session, error)
            raise
        finally:
            session.end()


def _record_failure(session: RunSession, error: Exception) -> None:
    """Write status and log of a failed run, unless that fails, too: what is reported is the first error."""
    with suppress(CleanerError):
        if not isinstance(error, CleanerError):
            write_text(session.folder / LOG_FILE, traceback.format_exc())
        session.update_status(state=RunState.FAILED, message=describe_error(error))


def _is_resumable(folder: Path, error: BaseException) -> bool:
    checkpoint = folder / CHECKPOINT_FILE
    return not isinstance(error, DivergedError) and any(
        path.exists() for path in (checkpoint, prepared_trigger_file(checkpoint))
    )


def _describe_choice(folder: Path) -> str:
    resume, discard = (cleaner_command("runs", option, run_id(folder)) for option in ("--resume", "--cancel"))
    return f"Resume: {resume}   Discard the training: {discard}"


@contextmanager
def _pausing_on_signals(session: ForegroundSession) -> Iterator[None]:
    """Let the first signal pause a run that has trained a step; the second, and before it any, interrupts at once."""

    def stop(*_: object) -> None:
        if session.terminated.is_set() or not session.has_trained:
            raise KeyboardInterrupt
        session.terminated.set()
        _write_stderr(STOPPING)

    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores one
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write_stderr(text: str) -> None:
    """Write to stderr without its buffer: a signal may come while that is in use."""
    with suppress(OSError):
        os.write(2, text.encode())


def _remove(folder: Path, before: set[Path] | None) -> None:
    """Remove what has come into a folder; before: what it held, None if it did not exist."""
    for path in set(folder.iterdir()) - (before or set()) if folder.exists() else ():
        with suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if before is None:
        with suppress(OSError):
            folder.rmdir()
