"""CleanCLIP's in-modal self-supervision (arXiv:2303.03323)."""

from __future__ import annotations

from torch import Tensor

from cleaner.losses.info_nce import Features, info_nce


def in_modal_loss(f: Features) -> Tensor:
    """Return (info_nce(I, I_aug, s) + info_nce(T, T_aug, s)) / 2, a scalar.

    Each image is matched with its own augmented view among those of the batch, captions likewise. One direction
    only: the original is the query. Raises `ValueError` without augmented views.
    """
    if f.image_aug is None or f.text_aug is None:
        raise ValueError("the in-modal loss needs image_aug and text_aug.")
    image_loss = info_nce(f.image, f.image_aug, f.logit_scale)
    return (image_loss + info_nce(f.text, f.text_aug, f.logit_scale)) / 2
