"""Zero-shot classifiers from prompt features."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def zero_shot_classifier(prompt_features: Tensor) -> Tensor:
    """Return the zero-shot classifier (D, C) of prompt features (C, T, D) of any length (arXiv:2103.00020).

    Each prompt feature is normalised, the mean over the T templates is taken and normalised again; scores are cosines.
    """
    return F.normalize(F.normalize(prompt_features, dim=-1).mean(dim=1), dim=-1).T
