"""CLIP's contrastive loss (arXiv:2103.00020), and SigLIP's for a model with a bias (arXiv:2303.15343)."""

from torch import Tensor

from cleaner.losses.info_nce import Features, info_nce
from cleaner.losses.sigmoid import sigmoid_loss


def clip_loss(f: Features) -> Tensor:
    """Return (info_nce(I, T, s) + info_nce(T, I, s)) / 2, a scalar; with a bias, sigmoid_loss(s I T^T + b)."""
    if f.logit_bias is not None:
        return sigmoid_loss(f.logit_scale * f.image @ f.text.T + f.logit_bias)
    return (info_nce(f.image, f.text, f.logit_scale) + info_nce(f.text, f.image, f.logit_scale)) / 2
