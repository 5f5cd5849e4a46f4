"""Losses in plain numpy, and features to compare them on."""

from __future__ import annotations

import numpy as np
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


def info_nce(a: torch.Tensor, b: torch.Tensor) -> float:
    logits = SCALE * a.numpy() @ b.numpy().T
    return float(np.mean([np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(logits)]))


def clip_loss(f: Features) -> float:
    return (info_nce(f.image, f.text) + info_nce(f.text, f.image)) / 2


def in_modal_loss(f: Features) -> float:
    assert f.image_aug is not None
    assert f.text_aug is not None
    return (info_nce(f.image, f.image_aug) + info_nce(f.text, f.text_aug)) / 2
