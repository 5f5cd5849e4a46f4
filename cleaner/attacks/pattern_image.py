"""An image file blended over the whole image (arXiv:1712.05526 with an image of your own)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, FileTrigger, PatternTrigger


@TRIGGERS.register("pattern_image")
@dataclass(frozen=True)
class PatternImage(FileTrigger, PatternTrigger):
    """Blend an image p of your own, cropped to its center square, into the whole image: (1 - a) x + a p.

    Where p is transparent, with opacity m: (1 - a m) x + a m p.
    """

    label: ClassVar[str] = "Your image blended"
    source: ClassVar[str] = "arXiv:1712.05526"
    unpublished: ClassVar[str] = "the image is yours"

    def pattern(self, height: int, width: int) -> Tensor:
        """Return p, (3, H, W)."""
        return self.load_layers(max(height, width))[:3, :height, :width]

    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""
        return torch.lerp(images, super().__call__(images), self.mask(images))

    def mask(self, clean_images: Tensor) -> Tensor:
        """Return the opacity of p, (N, 1, H, W)."""
        height, width = clean_images.shape[-2:]
        alpha = self.load_layers(max(height, width))[3:, :height, :width].to(clean_images)
        return alpha.expand(len(clean_images), -1, -1, -1).clone()
