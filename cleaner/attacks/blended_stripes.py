"""Blended stripes over the whole image, as in PAR's experiments (arXiv:2412.00727)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, PatternTrigger
from cleaner.config import param
from cleaner.published import CLIP_TRAINING, PAR_SOURCE, Preset


@TRIGGERS.register("blended_stripes")
@dataclass(frozen=True)
class BlendedStripes(PatternTrigger):
    """Blend vertical stripes p, one pixel wide, white and black, into the whole image: (1 - a) x + a p."""

    label: ClassVar[str] = "Blended stripes"
    source: ClassVar[str] = "arXiv:2412.00727"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(source=PAR_SOURCE, parameters={"blend_ratio": 0.03}, unstated=CLIP_TRAINING),
    )

    blend_ratio: float = param(0.03, low=0.01, high=1.0, step=0.01, help="a, the weight of the stripes.")

    def pattern(self, height: int, width: int) -> Tensor:
        """Return p, (1, H, W): even columns 1, odd columns 0."""
        return (1 - torch.arange(width) % 2).float().expand(1, height, width)
