"""center_distance: the Euclidean distance to the mean."""

import pytest
import torch

from cleaner.detectors import DETECTORS


def test_distance_to_the_mean() -> None:
    features = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    reference = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    assert DETECTORS["center_distance"]().score(features, reference).tolist() == pytest.approx([0.0, 5.0])
