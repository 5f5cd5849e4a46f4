"""The outlier scores in plain numpy, one row after the other, and features to try them on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from cleaner.detectors import DETECTORS

Array = NDArray[np.float64]
ROWS = [3, 8, 9, 14, 20, 21, 25, 33, 38, 39]
"""Rows of `make_features` that are the reference."""


def make_features(n: int = 40, width: int = 6, seed: int = 0) -> Tensor:
    """Return unit rows (n, width) of one direction; the last five are far from it and from each other."""
    features = 0.5 * torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    features[:-5, 0] += 3
    features[-5:, 1:6] += 3 * torch.eye(5)[-min(n, 5) :]
    return torch.nn.functional.normalize(features, dim=-1)


def assert_scores(name: str, rows: list[int] | None, k: int) -> None:
    """Assert that a detector scores `make_features` as the function of its name does; rows: the reference."""
    features = make_features()
    given = {} if rows is None else {"reference": features[rows], "rows": torch.tensor(rows)}
    scores = DETECTORS[name](k=k).score(features, **given)
    assert scores.tolist() == pytest.approx(globals()[name](features, rows, k), rel=1e-5)


def neighbors(reference: Array, own: int | None, query: Array, k: int) -> tuple[Array, list[int]]:
    """Return the k smallest distances from `query` to the reference, without row `own`, and their rows."""
    distances = [(float(np.sqrt(((query - reference[j]) ** 2).sum())), j) for j in range(len(reference)) if j != own]
    nearest = sorted(distances)[:k]
    return np.array([d for d, _ in nearest]), [j for _, j in nearest]


def radii(features: Tensor, rows: list[int] | None, k: int) -> tuple[list[Array], list[list[int]], list[Array]]:
    """Return distances and rows of each row's neighbors, and the distances of each reference row's neighbors."""
    points = features.double().numpy()
    chosen = list(range(len(points))) if rows is None else rows
    reference = points[chosen]
    found = [neighbors(reference, chosen.index(i) if i in chosen else None, points[i], k) for i in range(len(points))]
    among = [neighbors(reference, j, reference[j], k)[0] for j in range(len(reference))]
    return [d for d, _ in found], [r for _, r in found], among


def k_distance(features: Tensor, rows: list[int] | None, k: int) -> list[float]:
    return [float(d[-1]) for d in radii(features, rows, k)[0]]


def slof(features: Tensor, rows: list[int] | None, k: int) -> list[float]:
    distances, nearest, among = radii(features, rows, k)
    return [sum(d[-1] / among[j][-1] for j in found) / k for d, found in zip(distances, nearest, strict=True)]


def dao(features: Tensor, rows: list[int] | None, k: int) -> list[float]:
    distances, nearest, among = radii(features, rows, k)
    dimension = [-k / sum(np.log(r[m] / r[-1]) for m in range(k - 1)) for r in among]
    return [
        sum(dimension[j] * np.log(d[-1] / among[j][-1]) for j in found) / k
        for d, found in zip(distances, nearest, strict=True)
    ]
