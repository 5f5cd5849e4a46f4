"""Options that send a run to a cluster, and how its run is followed from the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from cleaner.cli.options import make_options_class
from cleaner.cli.output import format_duration
from cleaner.jobs import local
from cleaner.jobs.slurm import SlurmResources
from cleaner.runs.request import Request
from cleaner.runs.store import ACTIVE, Run, Status, create_run, load_run, remove_run_folder
from cleaner.types import CleanerError

REFRESH_SECONDS = 0.5
DETACHED_MESSAGE = (
    "The job goes on. See it with: python -m cleaner runs; end it with: python -m cleaner runs --cancel {folder}"
)

if TYPE_CHECKING:
    SlurmOptions = SlurmResources
else:
    SlurmOptions = make_options_class(SlurmResources)


@dataclass(frozen=True)
class ClusterOptions:
    """Where a run is trained."""

    cluster: Annotated[
        Literal["slurm"] | None, tyro.conf.arg(help="Hand the work to this cluster; the options below are for it.")
    ] = None
    resources: Annotated[SlurmOptions, tyro.conf.arg(name="")] = SlurmOptions()

    def to_cluster(self) -> SlurmResources | None:
        """Return what to ask the cluster for, None for this machine; raises `CleanerError` for options without one."""
        given = [f.name for f in fields(self.resources) if getattr(self.resources, f.name) != f.default]
        if self.cluster is None and given:
            option = given[0].replace("_", "-")
            raise CleanerError(f"--{option} is for a cluster: say --cluster slurm, or leave it out.")
        return SlurmResources(**vars(self.resources)) if self.cluster else None


def run_on_cluster(
    request: Request, folder: Path, cluster: SlurmResources, background: bool, report: Callable[[Run, Path], None]
) -> None:
    """Let the cluster do a request; follow it and report its figures, or return at once."""
    with suppress(OSError):  # kept free until now
        folder.rmdir()
    folder = create_run(request, folder.parent, folder.name)
    try:
        local.start(folder, cluster)
    except CleanerError:
        remove_run_folder(folder)
        raise
    if background:
        print(f"The run lies in {folder}")
        return
    status = watch_run(folder)
    if status.state != "done":
        raise CleanerError(f"the run in {folder} is {status.state}. {status.message}".strip())
    report(load_run(folder), folder)


def watch_run(folder: Path) -> Status:
    """Show on stderr how far a run is until it ends; Ctrl-C ends the watching, not the run."""
    before, shown = "", 0.0
    try:
        while (status := local.poll_status(folder)).state in ACTIVE:
            said = status.message if status.state == "queued" else f"{status.state}: {status.stage}"
            if said != before or (time.monotonic() - shown > 10 and status.state == "running"):
                before, shown = said, time.monotonic()
                sys.stderr.write(f"{_format_status(status)}\n")
                sys.stderr.flush()
            time.sleep(REFRESH_SECONDS)
    except KeyboardInterrupt:
        print(DETACHED_MESSAGE.format(folder=folder), file=sys.stderr)
        raise
    return status


def _format_status(status: Status) -> str:
    if status.state == "queued" or not status.stage:
        return status.message or f"At work on {status.host}."
    return f"{status.stage}: {status.step}/{status.total}, {format_duration(status.eta)} left"
