"""PAR's perturb-and-recover loss (arXiv:2412.00727)."""

from __future__ import annotations

import torch
from torch import Tensor

from cleaner.losses.clip import clip_loss
from cleaner.losses.info_nce import Features


def push_loss(f: Features, reference: Features, tau: float = 2.15) -> Tensor:
    """Return -0.5 (cut(d_I) + cut(d_T)), a scalar <= 0.

    d is the batch mean of the squared L2 distance between unit features (0..4) and those of the frozen backdoored
    model (`reference`) on the same pictures and captions; cut(d) = d if d <= tau else 0, on the batch mean: the
    model is pushed away from the backdoored one until it is tau away.
    """

    def pushed(now: Tensor, before: Tensor) -> Tensor:
        distance = (now - before.detach()).square().sum(-1).mean()
        return torch.where(distance <= tau, distance, torch.zeros_like(distance))

    return -0.5 * (pushed(f.image, reference.image) + pushed(f.text, reference.text))


def par_loss(f: Features, reference: Features, tau: float = 2.15) -> Tensor:
    """Return clip_loss + push_loss, a scalar that may be negative."""
    return clip_loss(f) + push_loss(f, reference, tau)
