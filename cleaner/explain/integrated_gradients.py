"""Integrated gradients (arXiv:1703.01365) of pixels and of tokens, by captum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from captum.attr import IntegratedGradients as CaptumGradients
from captum.attr import LayerIntegratedGradients
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from cleaner.config import param
from cleaner.explain.base import EXPLAINERS, Explainer
from cleaner.models.clip import Clip

BASELINES = ("blurred", "black")
FORWARD_BATCH = 256
"""Pictures or captions on the path in one forward pass."""


@EXPLAINERS.register("integrated_gradients")
@dataclass(frozen=True)
class IntegratedGradients(Explainer[Tensor]):
    """Gradients summed on the way from a blurred picture to this one; they add up to the gain in similarity."""

    label: ClassVar[str] = "Integrated gradients"
    source: ClassVar[str] = "arXiv:1703.01365"

    baseline: str = param("blurred", choices=BASELINES, help="Where the way begins: the blurred picture, or black.")
    steps: int = param(16, low=8, high=128, step=8, help="Points on the way (Gauss-Legendre); more are more exact.")

    def make_baseline(self, images: Tensor) -> Tensor:
        """Return the pictures (N, 3, H, W) in [0, 1] at which the way begins."""
        if self.baseline != BASELINES[0]:
            return torch.zeros_like(images)
        side = min(images.shape[-2:])
        size = max(3, side // 2 + 1 - side // 2 % 2)
        blurred: Tensor = gaussian_blur(images, [size, size], [side / 10, side / 10])
        return blurred

    def _attribute(self, clip: Clip, images: Tensor, target: Tensor) -> Tensor:
        method = CaptumGradients(lambda x, t: (clip.encode_image(x) * t).sum(-1))
        result: Tensor = method.attribute(
            images,
            self.make_baseline(images),
            additional_forward_args=target,
            n_steps=self.steps,
            internal_batch_size=FORWARD_BATCH,
        )
        return result.sum(dim=1)


@EXPLAINERS.register("token_gradients")
@dataclass(frozen=True)
class TokenGradients(Explainer[Sequence[str]]):
    """Integrated gradients of a caption's tokens: how much each word adds to the similarity to the picture."""

    label: ClassVar[str] = "Token gradients"
    source: ClassVar[str] = "arXiv:1703.01365"

    input_kind: ClassVar[str] = "captions"
    steps: int = param(48, low=8, high=256, step=8, help="Points on the way from the empty caption to this one.")

    def _attribute(self, clip: Clip, captions: Sequence[str], target: Tensor) -> Tensor:
        tokens = clip.tokenize(captions).to(clip.device)
        model: Any = clip.model
        embedding = model.token_embedding if hasattr(model, "token_embedding") else model.text.token_embedding
        method = LayerIntegratedGradients(lambda ids, t: (clip.encode_tokens(ids) * t).sum(-1), embedding)
        result: Tensor = method.attribute(
            tokens,
            mask_words(tokens),
            additional_forward_args=target,
            n_steps=self.steps,
            internal_batch_size=FORWARD_BATCH,
        )
        return result.sum(dim=-1)


def mask_words(tokens: Tensor) -> Tensor:
    """Return token ids (N, T) with the words set to 0, start and end kept: the end token is where CLIP reads.

    With these zeroed too the model would read at another place, and the sum of the attributions would be wrong.
    """
    end = tokens.argmax(dim=1, keepdim=True)
    kept = torch.zeros_like(tokens).scatter_(1, end, tokens.gather(1, end))
    kept[:, 0] = tokens[:, 0]
    return kept
