"""Cross-entropy of images against one prompt per class, as in prompt learning for CLIP (arXiv:2109.01134)."""

import torch.nn.functional as F
from torch import Tensor

from cleaner.losses.info_nce import Features


def class_loss(f: Features) -> Tensor:
    """Return the mean of CE(s I_i C^T, label_i) over the images with a label, a scalar; exactly 0 if none has one.

    C: (C, D) unit features of the class prompts. Raises `ValueError` without labels and class prompts.
    """
    if f.labels is None or f.classes is None:
        raise ValueError("the class loss needs labels and the features of the class prompts.")
    # The mean is taken here: over no image it would be NaN, and to count them on the CPU would wait for the GPU.
    total = F.cross_entropy(f.logit_scale * f.image @ f.classes.T, f.labels, ignore_index=-1, reduction="sum")
    return total / (f.labels >= 0).sum().clamp(min=1)
