"""CleanCLIP's in-modal self-supervision (arXiv:2303.03323)."""

from torch import Tensor

from cleaner.losses.info_nce import Features, info_nce
from cleaner.losses.sigmoid import in_modal_bias, sigmoid_loss


def in_modal_loss(f: Features) -> Tensor:
    """Return (info_nce(I, I_aug, s) + info_nce(T, T_aug, s)) / 2, a scalar.

    Each image is matched with its own augmented view among those of the batch, captions likewise. One direction
    only: the original is the query. With a bias, both are `sigmoid_loss` with `in_modal_bias`. Raises `ValueError`
    without augmented views.
    """
    if f.image_aug is None or f.text_aug is None:
        raise ValueError("the in-modal loss needs image_aug and text_aug.")
    return (_match(f, f.image, f.image_aug) + _match(f, f.text, f.text_aug)) / 2


def _match(f: Features, queries: Tensor, views: Tensor) -> Tensor:
    if f.logit_bias is None:
        return info_nce(queries, views, f.logit_scale)
    cosines = queries @ views.T
    return sigmoid_loss(f.logit_scale * cosines + in_modal_bias(f, cosines))
