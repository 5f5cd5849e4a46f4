"""Feature repelling: later blocks of the image tower must not repeat the backdoored model's (arXiv:2412.20392).

Reimplemented from the public description. The ResNet form, on pooled outputs of stages, is this project's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.losses.info_nce import Features


def skipped_blocks(share: float, count: int) -> int:
    """Return D, the number of first blocks of `count` that a share in 0..1 leaves out, rounded down."""
    return int(share * count + 1e-9)  # 0.29 * 100 is 28.999999999999996


def feature_repelling_loss(f: Features, reference: Features, skip_share: float = 0.0) -> Tensor:
    """Return FR, the mean of cos(c_d, sigma_d) over the images and the blocks d = D + 1 .. L; a scalar in -1..1.

    c_d: output of block d (`Features.blocks`); sigma_d: the same of the frozen model (`reference`); D < L:
    `skipped_blocks`. A ResNet's stages end in a ReLU, which keeps their cosines in 0..1. Raises `ValueError` without
    blocks.
    """
    first = skipped_blocks(skip_share, len(f.blocks))
    blocks = zip(f.blocks[first:], reference.blocks[first:], strict=True)
    cosines = [F.cosine_similarity(now, before.detach(), dim=-1).mean() for now, before in blocks]
    if not cosines:
        raise ValueError("the feature-repelling loss needs the outputs of blocks (Features.blocks).")
    return torch.stack(cosines).mean()
