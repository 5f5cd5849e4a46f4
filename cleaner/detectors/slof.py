"""Simplified local outlier factor: poisoned pairs are in sparser places than their neighbors (arXiv:2502.01385)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.detectors.base import DETECTORS
from cleaner.detectors.neighbors import NeighborDetector, find_neighborhoods


@DETECTORS.register("slof")
@dataclass(frozen=True)
class Slof(NeighborDetector):
    """Mean of r_k(i) / r_k(j) over the k nearest reference images j; r_k: distance to the k-th nearest one."""

    label: ClassVar[str] = "SLOF"
    source: ClassVar[str] = "arXiv:2502.01385"
    is_reimplemented: ClassVar[bool] = True

    def _score(self, features: Tensor, reference: Tensor, rows: Tensor, captions: Tensor | None) -> Tensor:
        found = find_neighborhoods(features, reference, rows, self.k)
        neighbor_radius = found.reference_distances[:, -1][found.indices]
        return (found.radius[:, None] / neighbor_radius).mean(1)
