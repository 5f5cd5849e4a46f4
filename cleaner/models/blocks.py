"""Outputs of the blocks inside an image tower: a ViT's transformer blocks or a ResNet's stages."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cleaner.models.clip import Clip

RESNET_LAYERS = ("layer1", "layer2", "layer3", "layer4")


def find_blocks(clip: Clip) -> list[nn.Module]:
    """Return the blocks of open_clip's own ViT or the stages of its ResNet, first one first; empty: another tower."""
    visual: Any = clip.model.visual
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", ())
    stages = [getattr(visual, stage) for stage in RESNET_LAYERS if hasattr(visual, stage)]
    return list(blocks) or stages


class ImageEncoder:
    """Encodes images like `clip.encode_image`; with blocks, their outputs are further columns of the same rows.

    One tensor, so that blocks pass through chunks and `gather` like plain features. The model must not be shared with
    other threads: hooks are set while it runs.
    """

    def __init__(self, clip: Clip, with_blocks: bool) -> None:
        self._clip, self._blocks = clip, find_blocks(clip) if with_blocks else []
        self._widths: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        """Return (N, D + W_1 + .. + W_L) float32: unit features, then `pool_tokens` of each block; float64 stays."""
        outputs: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            outputs.append(pool_tokens(self._clip.model.visual, output))

        hooks = [block.register_forward_hook(keep) for block in self._blocks]
        try:
            features = self._clip.encode_image(images)
        finally:
            for hook in hooks:
                hook.remove()
        self._widths = [rows.shape[1] for rows in (features, *outputs)]
        return torch.cat([features, *outputs], dim=1) if outputs else features

    def split(self, rows: Tensor) -> Sequence[Tensor]:
        """Return the unit features (N, D) and the output of each block (N, W) in rows of an earlier call."""
        return torch.split(rows, self._widths, dim=1)


def pool_tokens(visual: Any, output: Tensor) -> Tensor:
    """Return a block's output as one float32 row per image, (N, W); float64 stays.

    A ResNet's stage (N, W, h, w): the mean over positions. A ViT's block (N, T, W): the class token, or the mean of the
    patch tokens in a tower that pools those.
    """
    dtype = torch.float64 if output.dtype == torch.float64 else torch.float32
    if output.ndim == 4:
        return output.mean(dim=(2, 3), dtype=dtype)
    if visual.pool_type == "avg":
        patches = math.prod(visual.grid_size)  # visual prompts may follow
        return output[:, 1 : patches + 1].mean(dim=1, dtype=dtype)
    return output[:, 0].to(dtype)
