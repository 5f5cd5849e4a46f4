"""mean_margin: the cosine with the true class, less that with the best other class."""

import pytest
import torch

from cleaner.evaluation.metrics import mean_margin


def test_the_best_other_class_counts() -> None:
    classifier = torch.tensor([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert mean_margin(images, classifier, torch.tensor([0, 0])) == pytest.approx((0.4 - 1.0) / 2)
