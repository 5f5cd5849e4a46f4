"""Defense: which texts of an epoch are used and which loss terms are summed. A new defence is one file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from cleaner.config import FinetuneConfig, validate
from cleaner.losses import Features
from cleaner.published import Method
from cleaner.registry import Registry
from cleaner.seed import numpy_generator
from cleaner.text import SubtextPair

DEFENSES: Registry[Any] = Registry("defence", "cleaner.defenses")


@dataclass(frozen=True)
class EpochTexts:
    """The texts of one epoch: N captions, and the subtexts of the pairs that were drawn (by index)."""

    captions: Sequence[str]
    drawn: dict[int, SubtextPair] = field(default_factory=dict)
    skipped: int = 0
    """Drawn pairs whose caption yields no subtext."""


TextPlan = Callable[[int], EpochTexts]


@dataclass(frozen=True)
class Defense(Method, ABC):
    """A way of finetuning a backdoored model on clean pairs. Parameters are the dataclass's fields."""

    needs_augmentation: ClassVar[bool] = False
    """Whether the losses need augmented views of pictures and captions."""
    needs_reference: ClassVar[bool] = False
    """Whether the losses need `Features.reference`, the features of the model that the training began with."""

    def __post_init__(self) -> None:
        validate(self)

    def plan(self, captions: Sequence[str], seed: int) -> TextPlan:
        """Return epoch -> texts of that epoch; a pure function of (seed, epoch), so that a run can resume anywhere."""
        return lambda epoch: EpochTexts(captions)

    def adapt(self, config: FinetuneConfig) -> FinetuneConfig:
        """Return the settings with what the method prescribes for its optimiser; the learning rate is the caller's."""
        return config

    def lr_factor(self, step: int, total: int) -> float | None:
        """Return the share of the learning rate at a step, or None for the loop's own warm-up and cosine."""
        return None

    def perturb(self, images: Tensor, seed: int, epoch: int, indices: Sequence[int]) -> Tensor:
        """Return the pictures (N, 3, H, W) that both models see; a pure function of (seed, epoch, index)."""
        return images

    @abstractmethod
    def losses(self, f: Features) -> dict[str, Tensor]:
        """Return the named, weighted loss terms of a batch; the training loop sums them."""

    def state_dict(self) -> dict[str, Any]:
        """Return name and parameters, JSON-ready."""
        return DEFENSES.state_of(self)


def load_defense(state: dict[str, Any]) -> Defense:
    """Return the defence that `state_dict()` described."""
    defense: Defense = DEFENSES.load(state)
    return defense


def draw_pairs(count: int, share: float, seed: int, epoch: int) -> list[int]:
    """Return the K = share x count pairs drawn in an epoch, at least one, sorted."""
    drawn = numpy_generator("drawn pairs", seed, epoch).choice(count, max(1, round(share * count)), replace=False)
    return sorted(int(index) for index in drawn)
