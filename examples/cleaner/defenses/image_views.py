"""CLIP's loss and augmented images: CleanCLIP without its text half."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.config import param
from cleaner.defenses.base import DEFENSES, Defense
from cleaner.losses import Features, clip_loss, info_nce


@DEFENSES.register("image_views")
@dataclass(frozen=True)
class ImageViews(Defense):
    """Finetune, and pull each image toward its augmented view.

    clip_loss + view_weight * info_nce(I, I_aug, s).
    """

    unpublished: ClassVar[str] = "an example of this project"
    needs_augmentation: ClassVar[bool] = True

    view_weight: float = param(1.0, low=0.0, high=100.0, help="Weight of the loss between an image and its view.")

    def losses(self, f: Features) -> dict[str, Tensor]:
        if f.image_aug is None:
            raise ValueError("image_views needs augmented images.")
        return {
            "clip_loss": clip_loss(f),
            "view_loss": self.view_weight * info_nce(f.image, f.image_aug, f.logit_scale),
        }
