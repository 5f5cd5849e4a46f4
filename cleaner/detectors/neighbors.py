"""Distances to the nearest reference rows, shared by the detectors of unusual neighborhoods."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cleaner.config import param
from cleaner.detectors.base import PairDetector

EPSILON = 1e-6
"""Smallest distance: duplicates have one too, so that ratios and logarithms stay finite."""
QUERY_BATCH = 1024
"""Queries at once, to bound the memory of the distances."""


@dataclass(frozen=True)
class NeighborDetector(PairDetector):
    """A detector that compares an image with its k nearest reference images."""

    k: int = param(16, low=1, high=256, label="Neighbors k", help="Number of nearest neighbors.")

    @property
    def min_reference(self) -> int:
        return self.k + 1


@dataclass(frozen=True)
class Neighborhoods:
    """The k nearest reference rows of each row, itself left out, and those of each reference row.

    Attributes:
        distances: (N, k) float64, ascending Euclidean distances, at least `EPSILON`.
        indices: (N, k) the neighbors, as rows of the reference.
        reference_distances: (R, k) as `distances`, of the reference rows among each other.
    """

    distances: Tensor
    indices: Tensor
    reference_distances: Tensor

    @property
    def radius(self) -> Tensor:
        """r_k of each row, (N,)."""
        return self.distances[:, -1]


def find_neighborhoods(features: Tensor, reference: Tensor, rows: Tensor, k: int) -> Neighborhoods:
    """Return the neighborhoods of features (N, D) in reference (R, D), R > k.

    rows: (R,) the row of `features` that each reference row is, -1: none.
    """
    features, reference = features.double(), reference.double()
    own = torch.full((len(features),), -1)
    is_known = rows >= 0
    own[rows[is_known]] = torch.arange(len(rows))[is_known]
    distances, indices = _find_nearest(features, reference, own, k)
    return Neighborhoods(distances, indices, _find_nearest(reference, reference, torch.arange(len(reference)), k)[0])


def _find_nearest(queries: Tensor, reference: Tensor, own: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return distances and indices (N, k) of the nearest rows; own (N,): the row that is the query itself, or -1."""
    parts = []
    squares = (reference**2).sum(1)
    for batch, known in zip(queries.split(QUERY_BATCH), own.split(QUERY_BATCH), strict=True):
        # float64: with float32 the difference of large squares would drown small distances.
        squared = (batch**2).sum(1, keepdim=True) + squares - 2 * batch @ reference.T
        is_known = known >= 0
        squared[is_known, known[is_known]] = torch.inf
        nearest = squared.topk(k, largest=False)
        parts.append((nearest.values.clamp(min=0).sqrt().clamp(min=EPSILON), nearest.indices))
    return torch.cat([d for d, _ in parts]), torch.cat([i for _, i in parts])
