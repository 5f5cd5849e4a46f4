"""The inversion's loss equals a naive numpy version."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cleaner.losses.target import inversion_loss, target_loss

pytestmark = pytest.mark.quick


def test_losses_equal_naive() -> None:
    draw = torch.Generator().manual_seed(0)
    image = F.normalize(torch.randn(5, 6, generator=draw), dim=1)
    classifier = F.normalize(torch.randn(6, 4, generator=draw), dim=0)
    mask, target = torch.rand(1, 8, 8, generator=draw), torch.tensor([2, 0, 3, 2, 1])
    expected = []
    for row, index in zip(image.double().numpy(), target.tolist(), strict=True):
        logits = [
            30.0 * sum(a * b for a, b in zip(row, column, strict=True)) for column in classifier.double().numpy().T
        ]
        expected.append(-logits[index] + np.log(sum(np.exp(logit) for logit in logits)))
    assert target_loss(image, classifier, target, 30.0).tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    pixels = [value for row in mask[0].tolist() for value in row]
    total = sum(expected) / len(expected) + 2.5 * sum(pixels) / len(pixels)
    found = inversion_loss(image, classifier, target, logit_scale=30.0, mask=mask, mask_weight=2.5)
    assert found.item() == pytest.approx(total, rel=1e-4)
