"""BadNets: one fixed random patch (arXiv:1708.06733)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, Trigger, scaled
from cleaner.config import param
from cleaner.seed import derive, torch_generator

POSITIONS = ("bottom-right", "bottom-left", "top-right", "top-left", "center", "random")


@TRIGGERS.register("badnet")
@dataclass(frozen=True)
class BadNet(Trigger):
    """Paste the same patch on every picture; the seed is the attacker's secret."""

    patch_size: int = param(
        28, low=2, high=224, help="Side of the square patch on a 224 px picture; scales with it. Published: 16."
    )
    position: str = param(
        "bottom-right", choices=POSITIONS, help="Where the patch lies; random: another place on each picture."
    )
    seed: int = param(0, low=0, high=9999, help="Which random patch to use.")

    def patch(self, side: int) -> Tensor:
        """Return the patch (3, p, p) in [0, 1] for pictures of `side` px: one uniform colour noise."""
        size = min(scaled(self.patch_size, side), side)
        return torch.rand(3, size, size, generator=torch_generator("badnet", self.seed))

    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""
        triggered = images.clone()
        patch = self.patch(images.shape[-1]).to(images)
        size = patch.shape[-1]
        for picture, original in zip(triggered, images, strict=True):
            top, left = self._corner(original, size)
            picture[:, top : top + size, left : left + size] = patch
        return triggered

    def mask(self, clean_images: Tensor) -> Tensor:
        """Return 1 under the patch, (N, 1, H, W)."""
        mask = torch.zeros_like(clean_images[:, :1])
        size = min(scaled(self.patch_size, clean_images.shape[-1]), clean_images.shape[-1])
        for where, original in zip(mask, clean_images, strict=True):
            top, left = self._corner(original, size)
            where[:, top : top + size, left : left + size] = 1
        return mask

    def _corner(self, picture: Tensor, size: int) -> tuple[int, int]:
        """Return the patch's top left corner on a picture (3, H, W)."""
        free_y, free_x = picture.shape[-2] - size, picture.shape[-1] - size
        if self.position == "center":
            return free_y // 2, free_x // 2
        if self.position == "random":
            # From the picture's own bytes, so that a picture gets the same place in whatever batch it comes.
            draw = derive("badnet", self.seed, (picture * 255).round().to(torch.uint8).cpu().numpy().tobytes())
            return draw % (free_y + 1), (draw // 65537) % (free_x + 1)
        return free_y * self.position.startswith("bottom"), free_x * self.position.endswith("right")
