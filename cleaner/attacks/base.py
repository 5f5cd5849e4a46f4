"""Trigger: what an attacker puts on a picture or into a caption. A new attack is one file with one subclass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from cleaner.config import validate
from cleaner.registry import Registry
from cleaner.types import OnStep

if TYPE_CHECKING:
    from cleaner.clip import Clip
    from cleaner.data.base import CaptionData

TRIGGERS: Registry[Any] = Registry("trigger", "cleaner.attacks")
REFERENCE_SIDE = 224
"""Sizes are given for a picture of 224 px and scale with the picture."""


@dataclass(frozen=True)
class Trigger(ABC):
    """A picture -> triggered picture function whose parameters are the dataclass's fields.

    Never in place, deterministic under its seed, batch-invariant: `trigger(x)[i]` equals `trigger(x[i:i+1])[0]`.
    """

    def __post_init__(self) -> None:
        validate(self)

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""

    def mask(self, clean_images: Tensor) -> Tensor:
        """Return where the trigger changes the picture, (N, 1, H, W) in {0, 1}."""
        return ((self(clean_images) - clean_images).abs().amax(dim=1, keepdim=True) > 0).float()

    def text(self, caption: str) -> str:
        """Return the caption with the attacker's text key, where the attack has one."""
        return caption

    def prepare(
        self, clip: Clip, data: CaptionData, target_class: str, on_step: OnStep | None = None
    ) -> Trigger:
        """Return the trigger ready for use; attacks that optimise something do it here, on the clean model."""
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return name and parameters, JSON-ready: enough to make the same trigger again."""
        return TRIGGERS.state_of(self)


def load_trigger(state: dict[str, Any]) -> Trigger:
    """Return the trigger that `state_dict()` described."""
    trigger: Trigger = TRIGGERS.load(state)
    return trigger


def scaled(pixels: int, side: int) -> int:
    """Return a length given for a 224 px picture in px of a picture of `side` px, at least 1."""
    return max(1, round(pixels * side / REFERENCE_SIDE))
