"""unified_loss: CLIP's loss with part of each target on the pairs of the same class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cleaner.losses import Features, clip_loss, unified_loss

pytestmark = pytest.mark.quick


def make_features(labels: list[int]) -> Features:
    generator = torch.Generator().manual_seed(0)
    image, text = (F.normalize(torch.randn(len(labels), 8, generator=generator), dim=-1) for _ in range(2))
    return Features(image, text, logit_scale=7.0, labels=torch.tensor(labels))


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_equals_a_naive_version(share: float) -> None:
    f = make_features([2, 0, 2, -1, -1, 2])
    labels = [2, 0, 2, -1, -1, 2]
    logits = 7.0 * f.image.numpy() @ f.text.numpy().T
    total = 0.0
    for matrix in (logits, logits.T):
        for i, row in enumerate(matrix):
            log_probability = row - np.log(np.exp(row).sum())
            same = [j for j, label in enumerate(labels) if j == i or (label == labels[i] and label >= 0)]
            total -= (1 - share) * log_probability[i] + share * np.mean([log_probability[j] for j in same])
    assert unified_loss(f, share).item() == pytest.approx(total / 12, rel=1e-5)


def test_without_a_share_or_equal_labels_it_is_clips_loss() -> None:
    f = make_features([0, 0, 1, 1])
    assert unified_loss(f, 0.0).equal(clip_loss(f))
    others = make_features([0, 1, 2, -1])
    assert unified_loss(others, 0.8).item() == pytest.approx(clip_loss(others).item(), rel=1e-5)


def test_labels_are_required() -> None:
    f = make_features([0, 1])
    with pytest.raises(ValueError, match="needs labels"):
        unified_loss(Features(f.image, f.text), 0.5)
