"""Status: what status.json of a run folder says about its progress and its process."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from cleaner.command_line import cleaner_command
from cleaner.files import read_json_cached, write_json
from cleaner.labels import state_label
from cleaner.runs.parts import first_invalid_field
from cleaner.types import CleanerError

ACTIVE = ("queued", "running")
STARTABLE = ("new", "paused", "failed", "cancelled", "died")
"""States from which a run can be started or resumed."""
STATUS_FILE = "status.json"


@dataclass(frozen=True)
class Status:
    """What status.json says: how far a run is, and which process works on it."""

    state: str = "done"
    """"new", "queued", "running", "paused", "done", "failed", "cancelled"; `jobs` adds "died", lists "unreadable"."""
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
    """Argument in the command line of its worker: the token of a spare, or the folder of the worker's first run."""
    place: str = ""
    """"slurm" for a job of that cluster; empty for a process of this machine."""

    @property
    def progress(self) -> float:
        """Share done of the present stage, 0..1; 1 for a finished run."""
        return 1.0 if self.state == "done" else min(self.step / max(self.total, 1), 1.0)


_STATUS = TypeAdapter(Status)


def parse_status(values: dict[str, Any]) -> Status:
    """Return the status in the content of a status.json; state "unreadable" names an invalid field."""
    stated = {name: value for name, value in values.items() if value is not None}
    try:
        return _STATUS.validate_python({"state": "failed", **stated})
    except ValidationError as error:
        name = first_invalid_field(error)
        message = f"Its status.json has an invalid {name}: delete it if the run is complete, else delete the run."
        return Status("unreadable", message=message)


def read_status(folder: Path) -> Status:
    """Return what status.json says; a run without one was written in one go by `save_run` and is done."""
    path = folder / STATUS_FILE
    return parse_status(values) if (values := read_json_cached(path)) or path.exists() else Status("done")


def write_status(folder: Path, status: Status) -> None:
    """Write status.json, with the current time as `updated`."""
    write_json(folder / STATUS_FILE, {**asdict(status), "updated": time.time()})


def incomplete_run_error(folder: Path) -> CleanerError:
    """Return the error for a folder without a finished run: what to do depends on whether it can be resumed."""
    state = read_status(folder).state
    if state in ACTIVE:
        return CleanerError(f"the run in {folder} is {state}: wait until it has ended.")
    if state in STARTABLE:
        resume = cleaner_command("runs", "--resume", str(folder))
        return CleanerError(f"the run in {folder} is {state_label(state)}: resume it with: {resume}")
    return CleanerError(f"{folder} does not hold a complete run; list them with: python -m cleaner runs")
