"""Occlusion: cover one square of the image after another, by captum (arXiv:1311.2901)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from captum.attr import Occlusion as CaptumOcclusion
from torch import Tensor

from cleaner.config import param, scale_pixels
from cleaner.explain.base import EXPLAINERS, FORWARD_BATCH, Explainer, image_similarity
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

    def _attribute(self, clip: Clip, images: Tensor, target: Tensor) -> Tensor:
        side, step = (scale_pixels(px, images.shape[-1]) for px in (self.square, self.step))
        step = min(step, side)  # a larger step would leave gaps
        method = CaptumOcclusion(image_similarity(clip))
        attribution: Tensor = method.attribute(
            images,
            (3, side, side),
            (3, step, step),
            images.mean(dim=(2, 3), keepdim=True).expand_as(images),
            additional_forward_args=target,
            perturbations_per_eval=max(1, FORWARD_BATCH // len(images)),
        )
        return attribution.mean(dim=1)  # the square covers all channels at once
