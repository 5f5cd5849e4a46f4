"""CLIP's loss with targets that know classes: UniCL (arXiv:2204.03610) mixed with one target per pair."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.losses.clip import clip_loss
from cleaner.losses.info_nce import Features


def unified_loss(f: Features, class_share: float) -> Tensor:
    """Return (CE(s I T^T, Q) + CE(s T I^T, Q)) / 2, a scalar; `class_share` 0 is `clip_loss`, 1 is UniCL's loss.

    Row i of Q (N, N) has 1 - class_share on pair i, and class_share spread evenly over the pairs with its label, itself
    included; a pair without a label (-1) has all on itself. Raises `ValueError` without labels.
    """
    if class_share == 0:
        return clip_loss(f)
    if f.labels is None:
        raise ValueError("the unified loss needs labels.")
    own = torch.eye(len(f.labels), device=f.labels.device)
    same = (f.labels[:, None] == f.labels) & (f.labels >= 0) | own.bool()
    targets = (1 - class_share) * own + class_share * same / same.sum(dim=1, keepdim=True)
    logits = f.logit_scale * f.image @ f.text.T
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
