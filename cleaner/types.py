"""Types that every layer shares: the error for bad input, the progress report, the trigger protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


class CleanerError(ValueError):
    """Bad input. The message is one sentence with the remedy, fit to be shown to a user as it is."""


class Cancelled(Exception):
    """Raised by an `on_step` callback to stop the work; nothing half-written is left behind."""


class Paused(Cancelled):
    """Raised to stop the work for now: training writes its checkpoint first, to go on from there later."""


@dataclass(frozen=True)
class StepReport:
    """What a long job tells while it runs; the only way in which progress leaves the library."""

    stage: str
    """What is being done, in words: "optimise", "poison", "defend", "evaluate", "pretrain", "render"."""
    step: int
    """Steps done so far, 1..total."""
    total: int
    """Steps of this stage."""
    seconds: float
    """Wall-clock seconds since the stage began."""
    epoch: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    """Named loss terms of this step, plus "total"."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Figures of the *validation* split, when this step measured any: "ca", "asr"; 0..1."""
    lr: float = 0.0
    picture: str = ""
    """What is being made, where it can be looked at (a trigger's patch): a PNG file in base64."""

    @property
    def eta(self) -> float:
        """Seconds left, from the mean duration of the steps so far."""
        return self.seconds / max(self.step, 1) * (self.total - self.step)


OnStep = Callable[[StepReport], None]


@runtime_checkable
class TriggerLike(Protocol):
    """What `data/poison.py` needs of a trigger; `attacks.base.Trigger` implements it."""

    target_captions: ClassVar[str]

    def __call__(self, images: Tensor) -> Tensor: ...

    def text(self, caption: str) -> str: ...

    def state_dict(self) -> dict[str, Any]: ...
