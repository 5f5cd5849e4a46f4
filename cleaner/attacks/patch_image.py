"""An image file as the patch: a suspected or a published trigger."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, FileTrigger, PatchTrigger
from cleaner.config import param


@TRIGGERS.register("patch_image")
@dataclass(frozen=True)
class PatchImage(FileTrigger, PatchTrigger):
    """Paste an image of your own, cropped to its center square; where it is transparent, the image below shows."""

    label: ClassVar[str] = "Your image as patch"
    unpublished: ClassVar[str] = "the image is yours"

    patch_size: int = param(
        28,
        low=2,
        high=224,
        is_length=True,
        scaled_if="scale_before_resize",
        help="Side of the square patch on a 224 px image; scales with it if it was pasted before the resize.",
    )
    scale_before_resize: bool = param(
        True,
        help="On: the patch was pasted before the images were resized, so it scales with them. "
        "Off: the patch size counts pixels of the resized image.",
    )

    def scaled_patch_size(self, side: int) -> int:
        """Return p: scaled, or the patch size itself."""
        return super().scaled_patch_size(side) if self.scale_before_resize else self.patch_size

    def patch(self, side: int) -> Tensor:
        """Return the image (3, p, p)."""
        return self.load_layers(self.scaled_patch_size(side))[:3]

    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""
        return torch.lerp(images, super().__call__(images), self.mask(images))

    def mask(self, clean_images: Tensor) -> Tensor:
        """Return the opacity of the patch, (N, 1, H, W); 0 outside it."""
        mask = torch.zeros_like(clean_images[:, :1])
        alpha = self.load_layers(self.scaled_patch_size(clean_images.shape[-1]))[3:].to(mask)
        self._write_patch(mask, clean_images, patch=alpha)
        return mask
