"""The subtext loss as the reviewers of the paper describe it (OpenReview pA8oI8a00l).

Second-hand: the paper's own equations are not public to us. The reading of K and the mean of both terms are ours.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.losses.info_nce import Features


def reviewed_subtext_loss(f: Features, positive_temperature: float = 0.0, negative_temperature: float = 0.0) -> Tensor:
    """Return (L_i2t + L_t2i) / 2 over the K drawn pairs, a scalar; exactly 0 when none was drawn.

    With I_i the image, P_i the positive and N_i the one negative subtext of drawn pair i, temperatures t_p and t_n
    (0: 1 / logit_scale):

        L_i2t = -mean_i log(e^{I_i.P_i / t_p} / (sum_j e^{I_i.P_j / t_p} + K e^{I_i.N_i / t_n}))
        L_t2i = -mean_i log(e^{P_i.I_i / t_p} / (sum_j e^{P_i.I_j / t_p} + K e^{I_i.N_i / t_n}))

    No text-to-text term and no mask of false negatives. Raises `ValueError` without positive subtexts, or if a pair
    has not exactly one negative.
    """
    if f.positive is None or f.negative is None or f.selected is None:
        raise ValueError("the reviewed subtext loss needs positive and negative subtexts and the drawn rows.")
    pairs = len(f.positive)
    if pairs == 0:
        return f.image.new_zeros(())
    if f.negative.shape[1] != 1 or (f.negative_mask is not None and not f.negative_mask.all()):
        raise ValueError("the reviewed subtext loss needs exactly one negative subtext per drawn pair.")
    image, negative = f.image[f.selected], f.negative[:, 0]
    positive_scale = 1 / positive_temperature if positive_temperature else f.logit_scale
    negative_scale = 1 / negative_temperature if negative_temperature else f.logit_scale
    # K e^x = e^(x + log K): one more column of the softmax.
    counterfactual = (negative_scale * (image * negative).sum(-1) + math.log(pairs))[:, None]
    target = torch.arange(pairs, device=image.device)
    logits = positive_scale * image @ f.positive.T
    both = (F.cross_entropy(torch.cat([rows, counterfactual], dim=1), target) for rows in (logits, logits.T))
    return sum(both, image.new_zeros(())) / 2
