"""Options that send a run to a cluster, and the display of its status in the terminal."""

import sys
import time
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from cleaner.cli.options import make_options_class
from cleaner.cli.output import format_duration
from cleaner.command_line import cleaner_command
from cleaner.jobs import local
from cleaner.jobs.slurm import SlurmResources
from cleaner.labels import stage_label, state_label
from cleaner.runs.folders import runs_root
from cleaner.runs.request import Request
from cleaner.runs.run import Run, load_run
from cleaner.runs.status import ACTIVE, STATUS_FILE, RunState, Status
from cleaner.runs.store import create_run, remove_run_folder
from cleaner.types import CleanerError

REFRESH_SECONDS = 0.5
"""Seconds between two updates of a status in the terminal."""
DETACHED_MESSAGE = "The job continues. {show}. Cancel it: {cancel}"

if TYPE_CHECKING:
    SlurmOptions = SlurmResources
else:
    SlurmOptions = make_options_class(SlurmResources)


@dataclass(frozen=True)
class ClusterOptions:
    """Whether a run is trained on a cluster, and with which resources."""

    cluster: Annotated[
        Literal["slurm"] | None, tyro.conf.arg(help="Train on this cluster, with the resources below.")
    ] = None
    resources: Annotated[SlurmOptions, tyro.conf.arg(name="")] = SlurmOptions()

    def local_device(self, device: str) -> str:
        """Return where this machine computes for a run on `device`, which may be that of the cluster."""
        return device if self.cluster is None else "auto"

    def to_cluster(self) -> SlurmResources | None:
        """Return the requested resources, None for this machine, which takes none."""
        changed = [f.name for f in fields(self.resources) if getattr(self.resources, f.name) != f.default]
        if self.cluster is None and changed:
            raise CleanerError(f"--{changed[0].replace('_', '-')} requires --cluster slurm.")
        return SlurmResources(**vars(self.resources)) if self.cluster else None


def submit_run(request: Request, folder: Path, resources: SlurmResources) -> Path:
    """Create a run and submit it to the cluster; return its folder."""
    with suppress(OSError):  # reserved, and still empty
        folder.rmdir()
    if folder.exists():  # the run would get another name
        raise CleanerError(f"{folder} exists and is not empty: choose another --out.")
    folder = create_run(request, folder.parent, folder.name)
    try:
        local.start(folder, resources)
    except CleanerError:
        remove_run_folder(folder)
        raise
    return folder


def wait_for_run(folder: Path) -> Run:
    """Show the progress of a run until it is done, and return it; Ctrl-C stops the display, not the run."""
    try:
        status = watch_run(folder)
    except KeyboardInterrupt:
        is_listed = folder.resolve().parent == runs_root().resolve()
        show = "Show it: python -m cleaner runs" if is_listed else f"Its state: {folder / STATUS_FILE}"
        cancel = cleaner_command("runs", "--cancel", str(folder))
        raise KeyboardInterrupt(DETACHED_MESSAGE.format(show=show, cancel=cancel)) from None
    if status.state != RunState.DONE:
        raise CleanerError(f"the run in {folder} is {state_label(status.state)}. {status.message}".strip())
    return load_run(folder)


def watch_run(folder: Path) -> Status:
    """Show the status of a run on stderr until it ends."""
    last_text, last_time = "", 0.0
    while (status := local.poll_status(folder)).state in ACTIVE:
        text = status.message if status.state == RunState.QUEUED else f"{status.state}: {status.stage}"
        if text != last_text or (time.monotonic() - last_time > 10 and status.state == RunState.RUNNING):
            last_text, last_time = text, time.monotonic()
            sys.stderr.write(f"{_format_status(status)}\n")
            sys.stderr.flush()
        time.sleep(REFRESH_SECONDS)
    return status


def _format_status(status: Status) -> str:
    if status.state == RunState.QUEUED or not status.stage:
        return status.message or f"Running on {status.host}."
    left = f", {format_duration(status.eta)} left" if status.step else ""
    return f"{stage_label(status.stage)}: {status.step}/{status.total}{left}"
