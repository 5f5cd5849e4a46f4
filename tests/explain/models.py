"""Tiny models and inputs whose attribution is known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cleaner.models.clip import Clip
from tests.conftest import make_clip

IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
REGION = torch.zeros(1, 1, 32, 32)
REGION[..., 16:24, 8:16] = 1
"""One 8 px cell of the tiny ViT: row 2, column 1, token 1 + 2 * 4 + 1."""
TOKEN = 10


def target_feature(clip: Clip, caption: str = "a banana") -> Tensor:
    with torch.no_grad():
        return clip.encode_text([caption])[0]


def make_responsive_clip(kind: str) -> Clip:
    """Return a tiny model that responds to its image: the residual branches of a fresh ResNet end in zeros."""
    clip = make_clip(kind)
    for module in clip.model.visual.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(module.weight, 1.2)
            torch.nn.init.constant_(module.running_var, 0.5)
    return clip


def make_one_cell_clip(kind: str) -> Clip:
    """Return a model whose feature depends on REGION alone."""
    clip = make_responsive_clip(kind)
    visual: Any = clip.model.visual
    if kind == "rn":
        visual.register_forward_pre_hook(lambda _, args: (args[0] * REGION,))
        return clip
    fused = visual.transformer.resblocks[0].attn
    with torch.no_grad():
        # One channel marks the cell's token and queries look for this channel only: every softmax selects the token.
        visual.positional_embedding[TOKEN, 0] += 5
        fused.in_proj_weight[:64] = 0
        fused.in_proj_bias[:64] = 0
        fused.in_proj_bias[:32:16] = 40  # first channel of each head's query
        fused.in_proj_weight[32:64:16, 0] = 10  # and of each head's key
    return clip
