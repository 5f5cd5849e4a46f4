"""PAR's perturb-and-recover loss (arXiv:2412.00727)."""

import torch
from torch import Tensor

from cleaner.losses.clip import clip_loss
from cleaner.losses.info_nce import Features

PUBLISHED_TAU = 2.15


def push_loss(f: Features, reference: Features, tau: float = PUBLISHED_TAU) -> Tensor:
    """Return -0.5 (cut(d_I) + cut(d_T)), a scalar <= 0.

    d is the batch mean of the squared L2 distance (0..4) between the unit features and those of the frozen backdoored
    model (`reference`) on the same images and captions; cut(d) = d if d <= tau else 0. The push stops once the batch
    mean exceeds tau.
    """

    def cut(now: Tensor, before: Tensor) -> Tensor:
        distance = (now - before.detach()).square().sum(-1).mean()
        return torch.where(distance <= tau, distance, torch.zeros_like(distance))

    return -0.5 * (cut(f.image, reference.image) + cut(f.text, reference.text))


def par_loss(f: Features, reference: Features, tau: float = PUBLISHED_TAU) -> Tensor:
    """Return clip_loss + push_loss, a scalar that may be negative."""
    return clip_loss(f) + push_loss(f, reference, tau)
