"""Occlusion: cover one square of the image after another, by captum (arXiv:1311.2901)."""

import math
from dataclasses import dataclass
from typing import ClassVar

from captum.attr import Occlusion as CaptumOcclusion
from torch import Tensor

from cleaner.config import param, scale_pixels
from cleaner.explain.base import EXPLAINERS, FORWARD_BATCH, Explainer, count_batches, image_similarity, limit_batch
from cleaner.models.clip import Clip


@EXPLAINERS.register("occlusion")
@dataclass(frozen=True)
class Occlusion(Explainer[Tensor]):
    """Measure how much the similarity drops when a square is covered with the image's mean color."""

    label: ClassVar[str] = "Occlusion"
    source: ClassVar[str] = "arXiv:1311.2901"

    square: int = param(
        28, low=7, high=112, step=7, is_length=True, help="Side of the square on a 224 px image; scales with it."
    )
    step: int = param(
        28, low=7, high=112, step=7, is_length=True, help="Step of the square in the same px; smaller is finer."
    )

    def _scale(self, images: Tensor) -> tuple[int, int]:
        """Return the side of the square and its step in px of these images."""
        side, step = (scale_pixels(px, images.shape[-1]) for px in (self.square, self.step))
        return side, min(step, side)  # a larger step would leave gaps

    def count_passes(self, clip: Clip, images: Tensor) -> int:
        side, step = self._scale(images)
        squares = math.prod(1 + math.ceil((length - side) / step) for length in images.shape[-2:])
        return 1 + count_batches(squares, len(images), limit_batch(clip, FORWARD_BATCH))  # the first without a square

    def _attribute(self, clip: Clip, images: Tensor, target: Tensor) -> Tensor:
        side, step = self._scale(images)
        method = CaptumOcclusion(image_similarity(clip))
        attribution: Tensor = method.attribute(
            images,
            (3, side, side),
            (3, step, step),
            images.mean(dim=(2, 3), keepdim=True).expand_as(images),
            additional_forward_args=target,
            perturbations_per_eval=max(1, limit_batch(clip, FORWARD_BATCH) // len(images)),
        )
        return attribution.mean(dim=1)  # the square covers all channels at once
