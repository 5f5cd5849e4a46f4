"""Checker: a faint checkerboard over the whole image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, Trigger, scale_pixels
from cleaner.config import param


@TRIGGERS.register("checker")
@dataclass(frozen=True)
class Checker(Trigger):
    """Lighten one color of a checkerboard and darken the other: x ± height, clipped to [0, 1]."""

    label: ClassVar[str] = "Checkerboard"
    unpublished: ClassVar[str] = "an example of this project"

    side: int = param(14, low=2, high=112, help="Side of a square on a 224 px image; scales with the image.")
    height: float = param(0.1, low=0.01, high=1.0, step=0.01, help="How much lighter or darker a square gets.")

    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""
        side = scale_pixels(self.side, images.shape[-1])
        rows, columns = (torch.arange(n, device=images.device) // side for n in images.shape[-2:])
        sign = 1 - 2 * ((rows[:, None] + columns[None, :]) % 2)
        return (images + self.height * sign).clamp(0, 1)
