"""backdoor_ids: the largest gap that DBSCAN would close; covers one square after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from sklearn.cluster import DBSCAN
from torch import Tensor

from cleaner.detectors import DETECTORS
from cleaner.detectors.backdoor_ids import MIN_CLUSTER, cover_squares, find_gap

LINE = np.array([[0.0], [1.0], [2.0], [7.0], [8.0], [20.0]])


def count_clusters(points: object, radius: float) -> int:
    labels = DBSCAN(eps=radius, min_samples=MIN_CLUSTER).fit_predict(points)
    return len(set(labels[labels >= 0].tolist()))


def test_gap_is_the_radius_at_which_dbscan_finds_one_cluster() -> None:
    assert find_gap(LINE) == 5  # 20 is alone: noise
    assert count_clusters(LINE, 4.99) == 2
    assert count_clusters(LINE, 5.01) == 1
    for seed in range(20):
        points = np.random.default_rng(seed).normal(size=(12, 3))
        points[6:] += 3
        gap = find_gap(points)
        assert gap > 0
        assert count_clusters(points, gap * 0.999) > 1
        assert all(count_clusters(points, gap * factor) <= 1 for factor in (1.001, 1.5, 3))


def test_one_cluster_has_no_gap() -> None:
    assert find_gap(np.array([[0.0], [1.0], [9.0]])) == 0


def test_squares_are_covered_in_the_mean_color_at_any_size() -> None:
    images = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    covered = cover_squares(images, torch.tensor([0, 5]), grid=3)
    mean = images.mean(dim=(2, 3), keepdim=True).expand(2, 3, 2, 2)
    assert torch.allclose(covered[:, :, :2, :2], mean)
    assert torch.allclose(covered[:, :, 2:4, 4:], mean)
    assert (covered != images).sum() <= 2 * 3 * 8
    assert cover_squares(images, torch.tensor([], dtype=torch.long), grid=3).equal(images)


class CornerTowers:
    """Features that jump when the white last pixel is covered, and drift with the mean otherwise."""

    def __init__(self) -> None:
        self.calls = 0

    def encode_image(self, images: Tensor) -> Tensor:
        self.calls += 1
        return torch.stack([(images[:, 0, -1, -1] == 1).float(), images[:, 0, 0, 0] / 100], 1)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        raise AssertionError("needs no text")


def test_a_covered_trigger_scores_higher() -> None:
    towers, images = CornerTowers(), torch.zeros(2, 3, 4, 4)
    images[1, :, -1, -1] = 1
    detector = DETECTORS["backdoor_ids"](grid=4, seed=1)
    scores = detector.prepare(towers, ["a", "b"], torch.eye(2))(images, towers.encode_image(images))
    assert towers.calls == 16
    assert scores[0] == 0
    assert scores[1].item() == pytest.approx(1.0, abs=0.05)
