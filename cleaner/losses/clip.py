"""CLIP's contrastive loss (arXiv:2103.00020)."""

from __future__ import annotations

from torch import Tensor

from cleaner.losses.info_nce import Features, info_nce


def clip_loss(f: Features) -> Tensor:
    """Return (info_nce(I, T, s) + info_nce(T, I, s)) / 2, a scalar."""
    return (info_nce(f.image, f.text, f.logit_scale) + info_nce(f.text, f.image, f.logit_scale)) / 2
