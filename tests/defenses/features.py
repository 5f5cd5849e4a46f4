"""Features of a batch to compute the losses of a defense on."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from cleaner.losses import Features

SCALE = 10.0


def unit_rows(*shape: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def make_features(n: int = 5, width: int = 8) -> Features:
    """Return features of a batch with augmented views, without subtexts."""
    image, text, image_aug, text_aug = (unit_rows(n, width, seed=seed) for seed in range(4))
    return Features(image, text, image_aug, text_aug, logit_scale=SCALE)
