"""Training beside the page: a thread does the work, the page only looks at it.

Streamlit aborts a script when the user clicks; a thread goes on through clicks, page switches and refreshes. It calls
nothing of Streamlit, and it ends with the server. Results lie on disk as run folders before they are shown.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cleaner.runs import runs_root, save_run
from cleaner.types import Cancelled, CleanerError, OnStep, StepReport

if TYPE_CHECKING:
    from cleaner.runs import Run

STAGES = {
    "render": "Drawing the pictures", "poison": "Poisoning", "defend": "Training the defence",
    "evaluate": "Measuring on the test pictures",
}  # fmt: skip


@dataclass
class Part:
    """One training of a job: what to call, and what it has told so far."""

    label: str
    work: Callable[[OnStep], Run]
    state: str = "waiting"
    """"waiting", "running", "done", "failed", "cancelled"."""
    report: StepReport | None = None
    history: list[StepReport] = field(default_factory=list)
    """Reports of training steps, in order."""
    folder: Path | None = None
    message: str = ""

    @property
    def progress(self) -> tuple[float, str]:
        """Return the share done of the present stage, and what is being done, in words with the time left."""
        r = self.report
        if r is None:
            return 0.0, "Getting ready"
        left = "a moment" if r.eta < 1.5 else f"about {r.eta:.0f} s" if r.eta < 90 else f"about {r.eta / 60:.0f} min"
        what = STAGES.get(r.stage, r.stage.capitalize())
        return r.step / max(r.total, 1), f"{what}: step {r.step:,} of {r.total:,}, {left} left"

    def step(self, report: StepReport) -> None:
        self.report = report
        if report.losses:
            self.history.append(report)


@dataclass
class Job:
    """Some trainings, one after the other. Cancelling keeps those that are done."""

    kind: str
    """"poison" or "defend": the page that shows it."""
    parts: list[Part]
    about: str = ""
    """Folder name of the run that is defended."""
    begun: float = field(default_factory=time.time)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        return any(part.state in ("waiting", "running") for part in self.parts)

    @property
    def stopping(self) -> bool:
        return self._stop.is_set() and self.running

    @property
    def folders(self) -> list[Path]:
        return [part.folder for part in self.parts if part.folder is not None]

    def cancel(self) -> None:
        """Ask the work to stop at its next step."""
        self._stop.set()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._work, name=f"{self.kind}-job", daemon=True)
        self._thread.start()

    def join(self, timeout: float | None = None) -> None:
        if self._thread is not None:
            self._thread.join(timeout)

    def _work(self) -> None:
        for number, part in enumerate(self.parts):
            if self._stop.is_set():
                part.state = "cancelled"
                continue
            part.state = "running"
            self._train(part, number)

    def _train(self, part: Part, number: int) -> None:
        def on_step(report: StepReport) -> None:
            part.step(report)
            if self._stop.is_set():
                raise Cancelled

        try:
            run = part.work(on_step)
            name = time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + f"-{self.kind}-{number}"
            part.folder = save_run(run, runs_root() / name)
            part.state = "done"
        except Cancelled:
            part.state, part.message = "cancelled", "Cancelled: nothing of it was kept."
        except CleanerError as error:
            part.state, part.message = "failed", str(error)
        except Exception as error:
            logging.getLogger(__name__).exception("training failed")
            part.message = f"Training stopped by an unexpected error ({type(error).__name__}: {error})."
            part.state = "failed"


class Desk:
    """The one place where training happens in a server: one job at a time, seen by every session."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self._lock = threading.Lock()

    def start(self, kind: str, parts: Sequence[Part], about: str = "") -> Job:
        """Begin a job. Raises `CleanerError` while another one runs."""
        with self._lock:
            if self.job is not None and self.job.running:
                raise CleanerError("another training is running: wait for it or cancel it first.")
            self.job = Job(kind, list(parts), about)
            self.job.start()
            return self.job

    def of(self, kind: str) -> Job | None:
        """Return the present or last job if it is of this kind."""
        return self.job if self.job is not None and self.job.kind == kind else None
