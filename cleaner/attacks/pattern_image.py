"""An image file blended over the whole image (arXiv:1712.05526 with an image of your own)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.attacks.base import TRIGGERS, FileTrigger, PatternTrigger


@TRIGGERS.register("pattern_image")
@dataclass(frozen=True)
class PatternImage(FileTrigger, PatternTrigger):
    """Blend an image p of your own, cropped to its center square, into the whole image: (1 - a) x + a p."""

    label: ClassVar[str] = "Your image blended"
    source: ClassVar[str] = "arXiv:1712.05526"
    unpublished: ClassVar[str] = "the image is yours"

    def pattern(self, height: int, width: int) -> Tensor:
        """Return p, (3, H, W)."""
        return self.load_image(max(height, width))[:, :height, :width]
