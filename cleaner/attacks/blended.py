"""Blended injection: one faint noise picture over the whole image (arXiv:1712.05526)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, Trigger
from cleaner.config import param
from cleaner.seed import torch_generator


@TRIGGERS.register("blended")
@dataclass(frozen=True)
class Blended(Trigger):
    """(1 - a) x + a p with one fixed uniform noise picture p, drawn at the image's own size."""

    blend_ratio: float = param(0.2, low=0.01, high=1.0, step=0.01, help="a, the weight of the noise picture.")
    seed: int = param(0, low=0, high=9999, help="Which noise picture to use.")

    def pattern(self, height: int, width: int) -> Tensor:
        """Return p, (3, H, W) in [0, 1]."""
        return torch.rand(3, height, width, generator=torch_generator("blended", self.seed))

    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""
        pattern = self.pattern(*images.shape[-2:]).to(images)
        return (1 - self.blend_ratio) * images + self.blend_ratio * pattern

    def mask(self, clean_images: Tensor) -> Tensor:
        """Return 1 everywhere, (N, 1, H, W): the whole picture is blended."""
        return torch.ones_like(clean_images[:, :1])
