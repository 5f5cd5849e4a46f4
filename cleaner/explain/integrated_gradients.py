"""Integrated gradients of pixels and of tokens, by captum (arXiv:1703.01365)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from captum.attr import IntegratedGradients as CaptumGradients
from captum.attr import LayerIntegratedGradients
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from cleaner.config import param
from cleaner.explain.base import (
    EXPLAINERS,
    GRADIENT_BATCH,
    Explainer,
    count_batches,
    image_similarity,
    limit_batch,
    token_embedding,
)
from cleaner.models.clip import Clip

BASELINES = ("blurred", "black")


@EXPLAINERS.register("integrated_gradients")
@dataclass(frozen=True)
class IntegratedGradients(Explainer[Tensor]):
    """Integrate the gradient from a blurred image; with more steps, the sum nears the gain in similarity."""

    label: ClassVar[str] = "Integrated gradients"
    source: ClassVar[str] = "arXiv:1703.01365"

    baseline: str = param("blurred", choices=BASELINES, help="Start of the path: the blurred image, or black.")
    steps: int = param(16, low=8, high=128, step=8, help="Points on the path (Gauss-Legendre); more are more exact.")

    def make_baseline(self, images: Tensor) -> Tensor:
        """Return the images (N, 3, H, W) in [0, 1] at the start of the path."""
        if self.baseline != BASELINES[0]:
            return torch.zeros_like(images)
        side = min(images.shape[-2:])
        size = max(3, side // 2 + 1 - side // 2 % 2)
        blurred: Tensor = gaussian_blur(images, [size, size], [side / 10, side / 10])
        return blurred

    def count_passes(self, clip: Clip, images: Tensor) -> int:
        return count_batches(self.steps, len(images), limit_batch(clip, GRADIENT_BATCH))

    def _attribute(self, clip: Clip, images: Tensor, target: Tensor) -> Tensor:
        method = CaptumGradients(image_similarity(clip))
        attribution: Tensor = method.attribute(
            images,
            self.make_baseline(images),
            additional_forward_args=target,
            n_steps=self.steps,
            internal_batch_size=limit_batch(clip, GRADIENT_BATCH),
        )
        return attribution.sum(dim=1)


@EXPLAINERS.register("token_gradients")
@dataclass(frozen=True)
class TokenGradients(Explainer[Sequence[str]]):
    """Integrate the gradient of a caption's tokens: what each word adds to the similarity to the image."""

    label: ClassVar[str] = "Token gradients"
    source: ClassVar[str] = "arXiv:1703.01365"

    input_kind: ClassVar[str] = "captions"
    steps: int = param(48, low=8, high=256, step=8, help="Points on the path from a caption of “!” to this one.")

    def count_passes(self, clip: Clip, captions: Sequence[str]) -> int:
        # captum first embeds the captions and the baselines.
        return 2 + count_batches(self.steps, len(captions), limit_batch(clip, GRADIENT_BATCH))

    def _attribute(self, clip: Clip, captions: Sequence[str], target: Tensor) -> Tensor:
        tokens = clip.tokenize(captions).to(clip.device)
        method = LayerIntegratedGradients(lambda ids, t: (clip.encode_tokens(ids) * t).sum(-1), token_embedding(clip))
        attribution: Tensor = method.attribute(
            tokens,
            mask_words(tokens),
            additional_forward_args=target,
            n_steps=self.steps,
            internal_batch_size=limit_batch(clip, GRADIENT_BATCH),
        )
        return attribution.sum(dim=-1)


def mask_words(tokens: Tensor) -> Tensor:
    """Return token ids (N, T) with the words set to 0, which is “!” in CLIP; start and end tokens stay.

    CLIP reads its feature at the end token: without it the sum of the attributions would be wrong.
    """
    end = tokens.argmax(dim=1, keepdim=True)
    masked = torch.zeros_like(tokens).scatter_(1, end, tokens.gather(1, end))
    masked[:, 0] = tokens[:, 0]
    return masked
