"""Blended triangles over the whole image, as in PAR's experiments (arXiv:2412.00727)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, PatternTrigger, scale_pixels
from cleaner.config import param
from cleaner.method import CLIP_TRAINING, PAR_SOURCE, Preset


@TRIGGERS.register("triangles")
@dataclass(frozen=True)
class Triangles(PatternTrigger):
    """Blend a pattern p of white right triangles on black into the whole image: (1 - a) x + a p."""

    label: ClassVar[str] = "Blended triangles"
    source: ClassVar[str] = "arXiv:2412.00727"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"{PAR_SOURCE} (eval/validate.py, backdoor/utils.py). Their pattern is 0.8 above the diagonal and "
            "0.4 elsewhere; ours is 0 and 1: inverted, with 2.5 times the contrast.",
            parameters={"blend_ratio": 0.15, "side": 14},
            unstated=CLIP_TRAINING,
        ),
    )

    blend_ratio: float = param(0.15, low=0.01, high=1.0, step=0.01, help="a, the weight of the triangles.")
    side: int = param(
        28, low=4, high=224, is_length=True, help="Short side of a triangle on a 224 px image; scales with it."
    )

    def pattern(self, height: int, width: int) -> Tensor:
        """Return p, (1, H, W): square tiles of `side` px, at least 2, 1 on and below the diagonal, 0 above."""
        side = max(2, scale_pixels(self.side, width))  # a tile of one pixel has no triangle: p would be plain white
        rows, columns = torch.arange(height) % side, torch.arange(width) % side
        return (columns[None, :] <= rows[:, None]).float()[None]
