"""Saliency: how much each pixel would change the similarity (arXiv:1312.6034)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.explain.base import EXPLAINERS, Explainer
from cleaner.models.clip import Clip


@EXPLAINERS.register("saliency")
@dataclass(frozen=True)
class Saliency(Explainer[Tensor]):
    """Take the gradient of the similarity, summed over the color channels."""

    source: ClassVar[str] = "arXiv:1312.6034"

    def _attribute(self, clip: Clip, images: Tensor, target: Tensor) -> Tensor:
        cosine = (clip.encode_image(images) * target).sum()
        return torch.autograd.grad(cosine, images)[0].sum(dim=1)
