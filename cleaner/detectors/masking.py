"""Masking: a patch keeps its class when the rest of the image is covered (after arXiv:2603.11664)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.config import param
from cleaner.detectors.base import DETECTORS, ImageDetector, ImageScorer, Towers
from cleaner.seed import torch_generator


@DETECTORS.register("masking")
@dataclass(frozen=True)
class Masking(ImageDetector):
    """Share of random squares that can be covered without changing the predicted class."""

    label: ClassVar[str] = "Masking"
    source: ClassVar[str] = "arXiv:2603.11664"
    is_reimplemented: ClassVar[bool] = True

    masks: int = param(16, low=1, high=256, help="Squares to cover, one after the other.")
    share: float = param(
        0.5, low=0.1, high=0.9, step=0.05, label="Side", help="Side of the square, as a share of the image's."
    )
    seed: int = param(0, low=0, high=9999, help="Seeds the places of the squares.")

    def prepare(self, towers: Towers, class_names: Sequence[str], classifier: Tensor) -> ImageScorer:
        def score(images: Tensor, features: Tensor) -> Tensor:
            predicted = (features @ classifier).argmax(1)
            stays = [
                (towers.encode_image(cover_square(images, top, left, side)) @ classifier).argmax(1) == predicted
                for top, left, side in self.squares(images.shape[-1])
            ]
            return torch.stack(stays).float().mean(0)

        return score

    def squares(self, size: int) -> list[tuple[int, int, int]]:
        """Return (top, left, side) in px of each square on an image of `size` px; the same for all images."""
        side = max(1, round(self.share * size))
        places = torch.rand(self.masks, 2, generator=torch_generator("masking", self.seed)) * (size - side + 1)
        return [(int(top), int(left), side) for top, left in places.tolist()]


def cover_square(images: Tensor, top: int, left: int, side: int) -> Tensor:
    """Return a copy of images (N, 3, H, W) with one square in each image's mean color."""
    covered = images.clone()
    covered[:, :, top : top + side, left : left + side] = images.mean(dim=(2, 3), keepdim=True)
    return covered
