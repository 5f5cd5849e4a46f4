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

from cleaner.cli.options import with_help
from cleaner.cli.output import duration
from cleaner.jobs import local
from cleaner.jobs.slurm import SlurmResources
from cleaner.runs.request import Request
from cleaner.runs.store import ACTIVE, Run, Status, create_run, load_run, remove_run_folder
from cleaner.types import CleanerError

LOOK_SECONDS = 0.5
STAYS = "The job goes on. See it with: python -m cleaner runs; end it with: python -m cleaner runs --cancel {folder}"

if TYPE_CHECKING:
    Asked = SlurmResources
else:
    Asked = with_help(SlurmResources)


@dataclass(frozen=True)
class Where:
    """Where a run is trained."""

    cluster: Annotated[
        Literal["slurm"] | None, tyro.conf.arg(help="Hand the work to this cluster; the options below are for it.")
    ] = None
    asked: Annotated[Asked, tyro.conf.arg(name="")] = Asked()

    def place(self) -> SlurmResources | None:
        """Return what to ask the cluster for, None for this machine; raises `CleanerError` for options without one."""
        given = [f.name for f in fields(self.asked) if getattr(self.asked, f.name) != f.default]
        if self.cluster is None and given:
            option = given[0].replace("_", "-")
            raise CleanerError(f"--{option} is for a cluster: say --cluster slurm, or leave it out.")
        return SlurmResources(**vars(self.asked)) if self.cluster else None


def hand_in(
    request: Request, folder: Path, place: SlurmResources, background: bool, report: Callable[[Run, Path], None]
) -> None:
    """Let the cluster do a request; follow it and report its figures, or return at once."""
    with suppress(OSError):  # kept free until now
        folder.rmdir()
    folder = create_run(request, folder.parent, folder.name)
    try:
        local.start(folder, place)
    except CleanerError:
        remove_run_folder(folder)
        raise
    if background:
        print(f"The run lies in {folder}")
        return
    status = follow(folder)
    if status.state != "done":
        raise CleanerError(f"the run in {folder} is {status.state}. {status.message}".strip())
    report(load_run(folder), folder)


def follow(folder: Path) -> Status:
    """Show on stderr how far a run is until it ends; Ctrl-C ends the watching, not the run."""
    before, shown = "", 0.0
    try:
        while (status := local.poll_status(folder)).state in ACTIVE:
            said = status.message if status.state == "queued" else f"{status.state}: {status.stage}"
            if said != before or (time.monotonic() - shown > 10 and status.state == "running"):
                before, shown = said, time.monotonic()
                sys.stderr.write(f"{_line(status)}\n")
                sys.stderr.flush()
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        print(STAYS.format(folder=folder), file=sys.stderr)
        raise
    return status


def _line(status: Status) -> str:
    if status.state == "queued" or not status.stage:
        return status.message or f"At work on {status.host}."
    return f"{status.stage}: {status.step}/{status.total}, {duration(status.eta)} left"
