"""Attention rollout (arXiv:2005.00928) and gradient rollout (arXiv:2103.15679) of vision transformers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cleaner.config import param
from cleaner.explain.base import EXPLAINERS, Explainer, upsample
from cleaner.models.clip import Clip

UNSUPPORTED = "attention rollout needs a plain vision transformer: choose integrated gradients or occlusion."
POOLED_TOKENS = {"tok": slice(0, 1), "avg": slice(1, None)}
"""open_clip's name of a pooling -> the token rows that it reads."""


class RecordingAttention(nn.Module):
    """Multi-head self-attention softmax(Q K^T / sqrt(d)) V that records its weights, with gradients.

    torch's fused kernel returns no weights, and the weights of its slow path get no gradient.
    """

    def __init__(self, fused: nn.MultiheadAttention) -> None:
        super().__init__()
        self.fused = fused
        self.weights = torch.empty(0)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """Return the output (N, T, D) of self-attention; `weights` becomes (N, heads, T, T)."""
        x = query if self.fused.batch_first else query.transpose(0, 1)
        qkv = nn.functional.linear(x, self.fused.in_proj_weight, self.fused.in_proj_bias)
        q, k, v = qkv.unflatten(-1, (3, self.fused.num_heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        self.weights = (scores if attn_mask is None else scores + attn_mask).softmax(dim=-1)
        out = self.fused.out_proj((self.weights @ v).transpose(1, 2).flatten(2))
        return (out if self.fused.batch_first else out.transpose(0, 1)), None


def install_recording_attention(visual: Any) -> list[RecordingAttention]:
    """Replace the attention of every block of a tower; return the new modules, first layer first."""
    for block in visual.transformer.resblocks:
        block.attn = RecordingAttention(block.attn)
    return [block.attn for block in visual.transformer.resblocks]


def rollout(attention: Sequence[Tensor]) -> Tensor:
    """Return the product over the layers, last one leftmost, of row-normalized (A + I) / 2; A: (N, T, T)."""
    eye = torch.eye(attention[0].shape[-1], device=attention[0].device)
    product = eye.expand_as(attention[0])
    for weights in attention:
        mixed = (weights + eye) / 2
        product = mixed / mixed.sum(-1, keepdim=True) @ product
    return product


def gradient_rollout(attention: Sequence[Tensor]) -> Tensor:
    """Return R after R <- R + A R for each layer, from R = I; A: (N, T, T), the mean over heads of (grad * A)^+."""
    relevance = torch.eye(attention[0].shape[-1], device=attention[0].device).expand_as(attention[0])
    for weights in attention:
        relevance = relevance + weights @ relevance
    return relevance


@dataclass(frozen=True)
class _AttentionExplainer(Explainer[Tensor]):
    is_signed: ClassVar[bool] = False
    layer: int = param(0, low=0, high=64, help="0: product of all layers; else this layer alone.")
    head: int = param(0, low=0, high=64, help="0: mean over all heads; else this head alone.")

    def unsupported_reason(self, clip: Clip) -> str | None:
        visual: Any = clip.model.visual
        blocks = getattr(getattr(visual, "transformer", None), "resblocks", [])
        is_plain = bool(blocks) and all(isinstance(getattr(b, "attn", None), nn.MultiheadAttention) for b in blocks)
        pools_tokens = getattr(visual, "attn_pool", None) is None and getattr(visual, "pool_type", "") in POOLED_TOKENS
        return None if is_plain and pools_tokens else UNSUPPORTED

    def limits(self, clip: Clip) -> Mapping[str, int]:
        blocks: Any = clip.model.visual.transformer.resblocks  # type: ignore[union-attr]
        return {"layer": len(blocks), "head": blocks[0].attn.num_heads}

    def grid_size(self, clip: Clip) -> int:
        return int(clip.model.visual.grid_size[0])  # type: ignore[union-attr, index]

    def _compute_attention(self, clip: Clip, images: Tensor, target: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the sum of the cosines and the weights (N, heads, T, T) of each layer."""
        blocks = install_recording_attention(clip.model.visual)
        cosine = (clip.encode_image(images) * target).sum()
        return cosine, [block.weights for block in blocks]

    def _select_layers(self, clip: Clip, layers: list[Tensor]) -> list[Tensor]:
        """Return (N, T, T) of the selected layers, one head or the mean over heads; visual prompts are left out."""
        if self.layer:
            layers = layers[self.layer - 1 : self.layer]
        tokens = math.prod(clip.model.visual.grid_size) + 1  # type: ignore[union-attr, arg-type]
        layers = [weights[..., :tokens, :tokens] for weights in layers]
        return [w[:, self.head - 1] if self.head else w.mean(1) for w in layers]

    def _tokens_to_map(self, clip: Clip, images: Tensor, mixed: Tensor) -> Tensor:
        """Return (N, H, W) of token mixing (N, T, T): the class token's row, or the mean of the pooled rows."""
        visual: Any = clip.model.visual
        row = mixed[:, POOLED_TOKENS[visual.pool_type]].mean(1)[:, 1:]
        return upsample(row.unflatten(1, tuple(visual.grid_size)), images.shape[-2:])


@EXPLAINERS.register("rollout")
@dataclass(frozen=True)
class Rollout(_AttentionExplainer):
    """Show what the image feature attends to, through all layers; the same for every target text."""

    label: ClassVar[str] = "Attention rollout"
    source: ClassVar[str] = "arXiv:2005.00928"
    uses_target: ClassVar[bool] = False

    def _attribute(self, clip: Clip, images: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            _, layers = self._compute_attention(clip, images, target)
            return self._tokens_to_map(clip, images, rollout(self._select_layers(clip, layers)))


@EXPLAINERS.register("gradient_rollout")
@dataclass(frozen=True)
class GradientRollout(_AttentionExplainer):
    """Weight the attention by how much it raises the similarity to the target text."""

    label: ClassVar[str] = "Gradient rollout"
    source: ClassVar[str] = "arXiv:2103.15679"

    def _attribute(self, clip: Clip, images: Tensor, target: Tensor) -> Tensor:
        cosine, layers = self._compute_attention(clip, images, target)
        gradients = torch.autograd.grad(cosine, layers)
        positive = [(g * w).clamp(min=0).detach() for g, w in zip(gradients, layers, strict=True)]
        mixed = gradient_rollout(self._select_layers(clip, positive))
        # Without the identity that R starts from: where a tower averages its patches, it would outweigh the attention.
        return self._tokens_to_map(clip, images, mixed - torch.eye(mixed.shape[-1], device=mixed.device))
