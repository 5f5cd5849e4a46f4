"""subspace: distance to the affine hull of the wordings of the predicted class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from cleaner.detectors import DETECTORS
from cleaner.detectors.subspace import WORDINGS, fit_subspaces, measure_distance


def make(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_distance_to_all_dimensions_equals_least_squares() -> None:
    points, features = make(3, 5, 12), make(3, 12, seed=1)
    centers, bases = fit_subspaces(points, 4)  # five points span four dimensions
    found = measure_distance(features, centers, bases)
    for i in range(3):
        p, f = points[i].numpy(), features[i].numpy()
        a, offset = (p[1:] - p[0]).T, f - p[0]
        expected = np.linalg.norm(offset - a @ np.linalg.lstsq(a, offset, rcond=None)[0])
        assert found[i].item() == pytest.approx(expected)
    assert measure_distance(points[:, 2], centers, bases).tolist() == pytest.approx([0.0] * 3, abs=1e-9)


def test_fewer_dimensions_leave_more_distance() -> None:
    points, features = make(1, 6, 12), make(1, 12, seed=1)
    distances = [measure_distance(features, *fit_subspaces(points, k)).item() for k in range(1, 6)]
    assert distances == sorted(distances, reverse=True)


class Towers:
    """Texts in the plane of their class, images as they are."""

    def encode_image(self, images: Tensor) -> Tensor:
        raise AssertionError("encodes no further image")

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        assert len(texts) == 2 * len(WORDINGS)
        spread = make(len(WORDINGS), 1).float()
        kite = torch.cat([torch.ones_like(spread), spread, torch.zeros_like(spread)], 1)
        return torch.cat([kite, kite.roll(1, dims=1)])


def test_scores_compare_with_the_predicted_class() -> None:
    classifier = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).T
    score = DETECTORS["subspace"](dimensions=1).prepare(Towers(), ["kite", "apple"], classifier)
    features = torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.5, 0.3], [0.2, 1.0, 0.9]])
    assert score(torch.zeros(3, 3, 4, 4), features).tolist() == pytest.approx([0.0, 0.3, 0.2], abs=1e-5)
