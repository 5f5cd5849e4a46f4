"""The loss of trigger inversion, that of Neural Cleanse (doi:10.1109/SP.2019.00031) on a zero-shot classifier."""

import torch.nn.functional as F
from torch import Tensor


def target_loss(image: Tensor, classifier: Tensor, target: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Return CE(s I_i W, t_i) of each image, (N,) >= 0.

    image: (N, D) unit features of triggered images; classifier: W (D, C); target: t (N,) int64; logit_scale: s.
    """
    return F.cross_entropy(logit_scale * image @ classifier, target, reduction="none")


def inversion_loss(
    image: Tensor,
    classifier: Tensor,
    target: Tensor,
    *,
    logit_scale: Tensor | float,
    mask: Tensor,
    mask_weight: float,
) -> Tensor:
    """Return mean_i CE(s I_i W, t_i) + lambda |m|, a scalar; |m| is the mean of the mask, its share of the image.

    I_i: features of x_i (1 - m) + m p. mask: m in [0, 1], any shape; mask_weight: lambda. Others as in `target_loss`.
    """
    return target_loss(image, classifier, target, logit_scale).mean() + mask_weight * mask.mean()
