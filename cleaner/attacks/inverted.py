"""An inverted trigger: pattern and mask that `python -m cleaner invert` found (arXiv:2506.12411)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.attacks.base import TRIGGERS, FileTrigger
from cleaner.data.images import blend_rgba


@TRIGGERS.register("inverted")
@dataclass(frozen=True)
class InvertedTrigger(FileTrigger):
    """Blend an image p by its opacity m: x (1 - m) + m p. An inverted trigger is an estimate of the attacker's.

    The file is a PNG with an alpha channel, which is m; where the image has another size, both are resized. It gives
    an attack success rate for an attack whose trigger is unknown: an estimate, because another trigger than the
    attacker's may do the same.
    """

    label: ClassVar[str] = "Inverted trigger (estimate)"
    source: ClassVar[str] = "arXiv:2506.12411"
    is_reimplemented: ClassVar[bool] = True
    unpublished: ClassVar[str] = "each is found in one model"
    is_estimate: ClassVar[bool] = True

    def __call__(self, images: Tensor) -> Tensor:
        """Return a triggered copy of `images`, (N, 3, H, W) in [0, 1]."""
        return blend_rgba(images, self.load_layers(images.shape[-1]).to(images))

    def mask(self, clean_images: Tensor) -> Tensor:
        """Return m, (N, 1, H, W)."""
        mask = self.load_layers(clean_images.shape[-1])[3:].to(clean_images)
        return mask.expand(len(clean_images), -1, -1, -1).clone()
