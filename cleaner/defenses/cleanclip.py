"""CleanCLIP: contrastive loss plus in-modal self-supervision (arXiv:2303.03323)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.config import param
from cleaner.defenses.base import DEFENSES, Defense
from cleaner.losses import Features, clip_loss, in_modal_loss


@DEFENSES.register("cleanclip")
@dataclass(frozen=True)
class CleanCLIP(Defense):
    """Finetune, and pull each picture and each caption towards an altered copy of itself.

    clip_loss + in_modal_weight * in_modal_loss; published weights 1 and 1.
    """

    needs_augmentation: ClassVar[bool] = True
    in_modal_weight: float = param(1.0, low=0.0, high=100.0, help="Weight of the in-modal loss.")

    def losses(self, f: Features) -> dict[str, Tensor]:
        return {"clip_loss": clip_loss(f), "in_modal_loss": self.in_modal_weight * in_modal_loss(f)}
