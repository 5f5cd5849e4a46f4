"""Zero-shot classifiers from prompt features."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def zero_shot_classifier(prompt_features: Tensor) -> Tensor:
    """Return the zero-shot classifier (D, C) from prompt features (C, T, D) of any length (arXiv:2103.00020).

    Prompt features are normalized, averaged over the T templates and normalized again; scores are cosines.
    """
    return F.normalize(F.normalize(prompt_features, dim=-1).mean(dim=1), dim=-1).T
