"""Zero-shot classifiers from prompt features."""

import torch.nn.functional as F
from torch import Tensor


def zero_shot_classifier(prompt_features: Tensor) -> Tensor:
    """Return the classifier (D, C): unit means of unit prompt features (C, T, D) (arXiv:2103.00020)."""
    return F.normalize(F.normalize(prompt_features, dim=-1).mean(dim=1), dim=-1).T
