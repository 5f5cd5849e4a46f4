"""Status: what status.json of a run folder says about its progress and its process."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock, Timeout
from pydantic import Field, TypeAdapter, ValidationError

from cleaner.command_line import cleaner_command
from cleaner.files import read_json_cached, write_error, write_json
from cleaner.labels import state_label
from cleaner.runs.parts import first_invalid_field
from cleaner.types import CleanerError

LOCK_SECONDS = 2.0
"""Seconds that a change of state waits for another one; a lost node may hold the lock for ever."""


class RunState(StrEnum):
    """The state of a run, as `transition` writes it; DIED and UNREADABLE are also found by reading."""

    NEW = "new"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DIED = "died"
    UNREADABLE = "unreadable"


ACTIVE = (RunState.QUEUED, RunState.RUNNING)
STOPPED = (RunState.PAUSED, RunState.FAILED, RunState.CANCELLED, RunState.DIED)
STARTABLE = (RunState.NEW, *STOPPED)
"""States from which a run can be started or resumed."""
NEXT_STATES: dict[RunState, tuple[RunState, ...]] = {
    RunState.NEW: (RunState.QUEUED, *STOPPED),
    RunState.QUEUED: (RunState.NEW, RunState.RUNNING, RunState.DONE, *STOPPED),
    RunState.RUNNING: (RunState.NEW, RunState.QUEUED, RunState.DONE, *STOPPED),
    **dict.fromkeys(STOPPED, (RunState.NEW, RunState.QUEUED, RunState.CANCELLED)),
    RunState.DONE: (),
    RunState.UNREADABLE: (RunState.CANCELLED,),
}
"""State -> the states that may follow. A run that died says RUNNING or QUEUED in its file."""
STATUS_FILE = "status.json"


@dataclass(frozen=True)
class Status:
    """What status.json says: how far a run is, and which process works on it."""

    state: RunState = RunState.DONE
    stage: str = ""
    step: int = 0
    total: int = 0
    eta: float = 0.0
    """Seconds left of the stage, from the steps measured; 0 before the first."""
    message: str = ""
    verdict: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None
    """Verdict on an attack once it is measured: "took", "weak", "did not take" or "is unclear", and one sentence."""
    device: str = ""
    gpus: str = ""
    """CUDA_VISIBLE_DEVICES of its process if the device is a GPU."""
    queued: float = 0.0
    begun: float = 0.0
    """Time at which its process got the device; 0: not yet."""
    updated: float = 0.0
    pid: int = 0
    started: float = 0.0
    """Time at which its process started."""
    start_ticks: int = 0
    """The same in clock ticks since the boot, which no step of the clock moves; 0: not known."""
    host: str = ""
    token: str = ""
    """Argument in the command line of its worker: the token of its queue, or the folder of the run."""
    place: str = ""
    """"slurm" for a job of that cluster; empty for a process of this machine."""

    @property
    def progress(self) -> float:
        """Share done of the present stage, 0..1; 1 for a finished run."""
        return 1.0 if self.state == RunState.DONE else min(self.step / max(self.total, 1), 1.0)


_STATUS = TypeAdapter(Status)


def parse_status(values: dict[str, Any]) -> Status:
    """Return the status in the content of a status.json; state "unreadable" names an invalid field."""
    stated = {name: value for name, value in values.items() if value is not None}
    try:
        return _STATUS.validate_python({"state": RunState.FAILED, **stated})
    except ValidationError as error:
        name = first_invalid_field(error)
        message = f"Its status.json has an invalid {name}: delete it if the run is complete, else delete the run."
        return Status(RunState.UNREADABLE, message=message)


def read_status(folder: Path) -> Status:
    """Return what status.json says; a run without one was written in one go by `save_run` and is done."""
    path = folder / STATUS_FILE
    return parse_status(values) if (values := read_json_cached(path)) or path.exists() else Status()


def write_status(folder: Path, status: Status) -> None:
    """Write status.json, with the current time as `updated`."""
    write_json(folder / STATUS_FILE, {**asdict(status), "updated": time.time()})


class StateError(CleanerError):
    """A run cannot get from its state to the requested one."""


def transition(folder: Path, state: RunState, **changes: Any) -> Status:
    """Move a run to a state, or write changed fields in the same one; return the new status.

    Raises `StateError` if the state cannot follow the one in status.json, as after another process has ended the run.
    """
    with lock_status(folder):
        before = read_status(folder)
        if state not in (before.state, *NEXT_STATES[before.state]):
            raise StateError(f"the run {folder.name} is {state_label(before.state)}: it cannot become {state}.")
        after = replace(before, state=state, **changes)
        write_status(folder, after)
    return after


@contextmanager
def lock_status(folder: Path) -> Iterator[None]:
    """Lock the status of a run for one change."""
    lock = FileLock(folder / ".status.lock")
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        pass
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def incomplete_run_error(folder: Path) -> CleanerError:
    """Return the error for a folder without a finished run: what to do depends on whether it can be resumed."""
    state = read_status(folder).state
    if state in ACTIVE:
        return CleanerError(f"the run in {folder} is {state}: wait until it has ended.")
    if state in STARTABLE:
        resume = cleaner_command("runs", "--resume", str(folder))
        return CleanerError(f"the run in {folder} is {state_label(state)}: resume it with: {resume}")
    return CleanerError(f"{folder} does not hold a complete run; list them with: python -m cleaner runs")
