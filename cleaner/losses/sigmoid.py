"""SigLIP's sigmoid loss (arXiv:2303.15343), for models with a `logit_bias`: each pair of a batch is judged by itself.

Only its image-text form is published. The in-modal and the subtext form are ours.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.losses.info_nce import Features


def sigmoid_loss(logits: Tensor) -> Tensor:
    """Return -(1 / N) sum_ij log sigmoid(z_ij logits_ij), z_ij = 1 for i = j, else -1; a scalar >= 0.

    logits: (N, M), M >= N; -inf off the diagonal leaves a pair out. No rows give exactly 0.
    """
    if len(logits) == 0:
        return logits.new_zeros(())
    signs = 2 * torch.eye(*logits.shape, device=logits.device) - 1
    return -F.logsigmoid(signs * logits).sum() / len(logits)


def in_modal_bias(f: Features, cosines: Tensor) -> Tensor:
    """Return the bias for cosines (N, N) of two images or of two texts: b + s (m_IT - m), the means without gradient.

    Two different images are far more similar than an image and the caption of another, for which b was learned. m and
    m_IT are the means over the pairs that do not match, of `cosines` and of the batch's I T^T. Raises `ValueError` for
    features without a bias.
    """
    if f.logit_bias is None:
        raise ValueError("the sigmoid loss needs a logit_bias.")
    with torch.no_grad():
        offset = _mean_of_others(f.image @ f.text.T) - _mean_of_others(cosines)
    return f.logit_bias + f.logit_scale * offset


def _mean_of_others(cosines: Tensor) -> Tensor:
    """Return the mean of a square matrix without its diagonal; 0 for one row."""
    n = len(cosines)
    return (cosines.sum() - cosines.diagonal().sum()) / max(n * (n - 1), 1)
