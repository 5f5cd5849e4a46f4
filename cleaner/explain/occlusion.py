"""Occlusion (arXiv:1311.2901): cover one place after the other, by captum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from captum.attr import Occlusion as CaptumOcclusion
from torch import Tensor

from cleaner.config import param
from cleaner.explain.base import EXPLAINERS, Explainer
from cleaner.models.clip import Clip

REFERENCE_SIDE = 224
FORWARD_BATCH = 256
"""Covered pictures in one forward pass."""


@EXPLAINERS.register("occlusion")
@dataclass(frozen=True)
class Occlusion(Explainer[Tensor]):
    """How much the similarity falls when a square is covered with the picture's mean colour."""

    label: ClassVar[str] = "Occlusion"
    source: ClassVar[str] = "arXiv:1311.2901"

    square: int = param(28, low=7, high=112, step=7, help="Side of the square on a 224 px picture; scales with it.")
    step: int = param(28, low=7, high=112, step=7, help="How far the square moves, in the same px; smaller: finer.")

    def _attribute(self, clip: Clip, images: Tensor, target: Tensor) -> Tensor:
        side, step = (max(1, round(px * images.shape[-1] / REFERENCE_SIDE)) for px in (self.square, self.step))
        step = min(step, side)  # captum would leave gaps
        method = CaptumOcclusion(lambda x, t: (clip.encode_image(x) * t).sum(-1))
        result: Tensor = method.attribute(
            images,
            (3, side, side),
            (3, step, step),
            images.mean(dim=(2, 3), keepdim=True).expand_as(images),
            additional_forward_args=target,
            perturbations_per_eval=max(1, FORWARD_BATCH // len(images)),
        )
        return result.mean(dim=1)  # the square covers all channels at once
