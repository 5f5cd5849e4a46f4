"""Blended injection: one faint noise image over the whole image (arXiv:1712.05526)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, PatternTrigger
from cleaner.config import param
from cleaner.published import CLEANCLIP_SOURCE, CLIP_POISONING, Preset
from cleaner.seed import torch_generator


@TRIGGERS.register("blended")
@dataclass(frozen=True)
class Blended(PatternTrigger):
    """Blend one fixed uniform noise image p, drawn at the image's own size: (1 - a) x + a p."""

    label: ClassVar[str] = "Blended noise"
    source: ClassVar[str] = "arXiv:1712.05526"
    published: ClassVar[tuple[Preset, ...]] = (
        Preset(
            source=f"{CLEANCLIP_SOURCE} (backdoor/utils.py). Their code draws new noise for each image; ours blends "
            "in one image, as in arXiv:1712.05526.",
            parameters={"blend_ratio": 0.2},
            training=CLIP_POISONING,
        ),
    )

    seed: int = param(0, low=0, high=9999, help="Seeds the noise image.")

    def pattern(self, height: int, width: int) -> Tensor:
        """Return p, (3, H, W) in [0, 1]."""
        return torch.rand(3, height, width, generator=torch_generator("blended", self.seed))
