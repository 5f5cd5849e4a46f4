"""Finetuning on clean pairs, some of whose images carry the found trigger: it no longer means anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.config import param
from cleaner.defenses.base import DEFENSES, FoundTriggerDefense
from cleaner.losses import Features, clip_loss
from cleaner.seed import numpy_generator


@DEFENSES.register("unlearn_trigger")
@dataclass(frozen=True)
class UnlearnTrigger(FoundTriggerDefense):
    """Finetune on clean pairs, and put the found trigger on some of the images, which keep their true captions.

    clip_loss; each image carries the trigger with probability `triggered_share`, and each epoch draws again which do.
    The idea is that of InverTune's third step (arXiv:2506.12411), the form is our own.
    """

    label: ClassVar[str] = "Unlearn inverted trigger"
    unpublished: ClassVar[str] = "our own form of an idea of InverTune (arXiv:2506.12411)"

    triggered_share: float = param(
        0.5, low=0.01, high=1.0, step=0.01, help="Share of the images of an epoch that carry the inverted trigger."
    )

    def perturb(self, images: Tensor, seed: int, epoch: int, indices: Sequence[int]) -> Tensor:
        draws = [numpy_generator("unlearn", seed, epoch, index).random() for index in indices]
        is_triggered = torch.tensor(draws, dtype=torch.float64) < self.triggered_share
        return torch.where(is_triggered.to(images.device).view(-1, 1, 1, 1), self.apply_trigger(images), images)

    def losses(self, f: Features) -> dict[str, Tensor]:
        return {"clip_loss": clip_loss(f)}
