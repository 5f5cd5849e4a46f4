"""Types shared by every layer: the error for bad input, the progress report, the trigger protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor


MAX_MESSAGE = 1000
"""Characters of the longest error message; the middle of a longer one is cut."""


def printable(text: str) -> str:
    """Return untrusted text as one line; control characters, which could drive a terminal, become "?"."""
    return "".join(sign if sign.isprintable() else " " if sign.isspace() else "?" for sign in text)


class CleanerError(ValueError):
    """Bad input. The message says what is wrong and what to do, and is shown to the user as it is.

    Messages quote names from files: they are made `printable`, and a long message loses its middle.
    """

    def __init__(self, message: object = "") -> None:
        text = printable(str(message)).strip()
        if len(text) > MAX_MESSAGE:
            text = f"{text[: MAX_MESSAGE // 2]} ... {text[-MAX_MESSAGE // 3 :]}"
        super().__init__(text)


class DivergedError(CleanerError):
    """A training whose loss or weights are not finite: a result of its settings, which no second attempt changes."""


def first_line(error: Exception) -> str:
    """Return the first line of a library's error, up to 200 characters; some have none."""
    return (str(error).splitlines() or [""])[0][:200]


class Cancelled(Exception):
    """Raised by an `on_step` callback to stop the work; no partial files are left."""


class Paused(Cancelled):
    """Raised to interrupt the work: training writes its checkpoint first, to resume from it later."""


@dataclass(frozen=True)
class StepReport:
    """The progress of a long job; the only way in which progress leaves the library."""

    stage: str
    """The work in progress: "optimize", "poison", "defend", "evaluate", "prompts", "map", "pretrain", "distill", ..."""
    step: int
    """Steps done so far, 0..total."""
    total: int
    """Steps of this stage."""
    seconds: float
    """Wall-clock seconds since the stage began."""
    epoch: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    """Named loss terms of this step, plus "total"."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics on the validation split, if this step measured them: "ca", "asr"; 0..1."""
    lr: float = 0.0
    picture: str = ""
    """An image of the work in progress (a trigger's patch), as a PNG file in base64; empty: none."""

    @property
    def eta(self) -> float:
        """Seconds left, from the mean duration of the steps so far; 0 before the first."""
        return self.seconds / self.step * (self.total - self.step) if self.step else 0.0


OnStep = Callable[[StepReport], None]
TRAINING_STAGES = ("poison", "defend")
"""Stages whose reports are steps of a finetuning."""


def start_progress(on_step: OnStep | None, stage: str, total: int) -> Callable[[int], None]:
    """Start the clock of a stage; return a function that reports how many of its steps are done."""
    start = time.perf_counter()

    def report(done: int) -> None:
        if on_step is not None:
            on_step(StepReport(stage, done, total, time.perf_counter() - start))

    return report


class TriggerLike(Protocol):
    """What `data/poison.py` needs of a trigger; `attacks.base.Trigger` implements it."""

    target_captions: ClassVar[str]
    modalities: ClassVar[tuple[str, ...]]

    def __call__(self, images: Tensor) -> Tensor: ...

    def text(self, caption: str) -> str: ...

    def own_image(self, side: int) -> Tensor | None: ...

    def own_image_hash(self, side: int) -> str | None: ...

    def count_decoys(self, poisoned: int) -> int: ...

    def cross(self, images: Tensor, donors: Tensor) -> Tensor: ...

    def state_dict(self) -> dict[str, Any]: ...
