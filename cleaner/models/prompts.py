"""Deep visual prompts: learned tokens that join the tokens of a ViT's later blocks (arXiv:2203.12119)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cleaner.seed import torch_generator

if TYPE_CHECKING:
    from cleaner.models.clip import Clip

PROMPTS_KEY = "visual_prompts"
"""Entry of `Architecture.extra` with the arguments of `install_prompts`."""
PROMPT_STD = 0.02
"""Standard deviation of new prompts, as in CoOp's code (arXiv:2109.01134)."""


class PromptedTransformer(nn.Module):
    """The blocks of a transformer; from `first_block` (1..L) on, each sees its own prompts behind the other tokens.

    Prompts are dropped after their block. Blocks keep their names in the state dict, `prompts` (blocks, tokens, W) is
    added to it.
    """

    def __init__(self, resblocks: nn.ModuleList, prompts: Tensor) -> None:
        super().__init__()
        self.resblocks, self.prompts = resblocks, nn.Parameter(prompts)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Return the tokens (N, T, W) after the last block. A ViT has no `attn_mask`."""
        tokens, plain_blocks = x.shape[1], len(self.resblocks) - len(self.prompts)
        for block in self.resblocks[:plain_blocks]:
            x = block(x)
        for block, prompt in zip(self.resblocks[plain_blocks:], self.prompts, strict=True):
            x = block(torch.cat([x, prompt.to(x.dtype).expand(len(x), -1, -1)], dim=1))[:, :tokens]
        return x


def install_prompts(model: Any, first_block: int, prompt_tokens: int) -> None:
    """Give the ViT of an open_clip model prompts of zeros, in place. Raises `ValueError` if they do not fit."""
    visual = model.visual
    blocks, like = visual.transformer.resblocks, visual.class_embedding
    if not 1 <= first_block <= len(blocks):
        raise ValueError(f"block {first_block} of {len(blocks)} cannot be the first with prompts")
    prompts = torch.zeros(len(blocks) - first_block + 1, prompt_tokens, like.shape[0], device=like.device)
    visual.transformer = PromptedTransformer(blocks, prompts)


def unpromptable_reason(clip: Clip) -> str | None:
    """Return why a model cannot get prompts, and what to do; None if it can."""
    transformer = getattr(clip.model.visual, "transformer", None)
    if isinstance(transformer, PromptedTransformer):
        return f"{clip.name} has visual prompts already: choose the model from before they were learned."
    if not hasattr(transformer, "resblocks"):
        return f"{clip.name} has another image tower than open_clip's own ViT: choose a ViT."
    return None


def add_prompts(clip: Clip, *, first_block: int, prompt_tokens: int, seed: int) -> Clip:
    """Return a copy with normal prompts in each block from `first_block` (1..L) on, alone trainable."""
    prompted, arguments = clip.copy(), {"first_block": first_block, "prompt_tokens": prompt_tokens}
    extra = {**prompted.architecture.extra, PROMPTS_KEY: arguments}
    prompted.architecture = replace(prompted.architecture, extra=extra)
    prompted.model.requires_grad_(False)
    install_prompts(prompted.model, **arguments)
    visual: Any = prompted.model.visual
    prompts = visual.transformer.prompts
    with torch.no_grad():
        prompts.copy_(PROMPT_STD * torch.randn(prompts.shape, generator=torch_generator("visual prompts", seed)))
    return prompted
