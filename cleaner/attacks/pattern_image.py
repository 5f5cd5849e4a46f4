"""A picture file blended over the whole picture (arXiv:1712.05526 with a picture of your own)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.attacks.base import TRIGGERS, FileTrigger, PatternTrigger


@TRIGGERS.register("pattern_image")
@dataclass(frozen=True)
class PatternImage(FileTrigger, PatternTrigger):
    """Blend a picture p of your own, cut to its middle square, into the whole picture: (1 - a) x + a p."""

    label: ClassVar[str] = "Your picture blended"
    source: ClassVar[str] = "arXiv:1712.05526"
    unpublished: ClassVar[str] = "the picture is yours"

    def pattern(self, height: int, width: int) -> Tensor:
        """Return p, (3, H, W)."""
        return self.load_image(max(height, width))[:, :height, :width]
