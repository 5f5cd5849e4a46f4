"""Blended stripes over the whole image, as in PAR's experiments (arXiv:2412.00727)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, PatternTrigger
from cleaner.config import param
from cleaner.published import CLIP_TRAINING, PAR_SOURCE, Preset
from cleaner.seed import torch_generator


@TRIGGERS.register("blended_stripes")
@dataclass(frozen=True)
class BlendedStripes(PatternTrigger):
    """Blend vertical colored stripes p, one pixel wide, of -1 and +1 into the whole image: (1 - a) x + a p, clipped."""

    label: ClassVar[str] = "Blended stripes"
    source: ClassVar[str] = "arXiv:2412.00727"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"{PAR_SOURCE} (eval/validate.py, backdoor/utils.py). Their code draws new stripes for each "
            "image; ours blends in one pattern.",
            parameters={"blend_ratio": 0.03},
            unstated=CLIP_TRAINING,
        ),
    )

    blend_ratio: float = param(0.03, low=0.01, high=1.0, step=0.01, help="a, the weight of the stripes.")
    seed: int = param(0, low=0, high=9999, help="Seeds the stripes.")

    def pattern(self, height: int, width: int) -> Tensor:
        """Return p, (3, H, W): a random sign for each channel and column."""
        ones = torch.randint(2, (3, 1, width), generator=torch_generator("blended_stripes", self.seed))
        return (2 * ones - 1).float().expand(3, height, width)
