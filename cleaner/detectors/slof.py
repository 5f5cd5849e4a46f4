"""Simplified local outlier factor: poisons are in sparser places than their neighbors (arXiv:2502.01385)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.config import param
from cleaner.detectors.base import DETECTORS, PairDetector
from cleaner.detectors.neighbors import find_neighborhoods


@DETECTORS.register("slof")
@dataclass(frozen=True)
class Slof(PairDetector):
    """Mean of r_k(i) / r_k(j) over the k nearest reference images j; r_k: distance to the k-th nearest one."""

    label: ClassVar[str] = "SLOF"
    source: ClassVar[str] = "arXiv:2502.01385"
    is_reimplemented: ClassVar[bool] = True

    k: int = param(16, low=1, high=256, label="Neighbors k", help="Neighbors that make a neighborhood.")

    @property
    def min_reference(self) -> int:
        return self.k + 1

    def _score(self, features: Tensor, reference: Tensor, rows: Tensor, captions: Tensor | None) -> Tensor:
        found = find_neighborhoods(features, reference, rows, self.k)
        neighbor_radius = found.reference_distances[:, -1][found.indices]
        return (found.radius[:, None] / neighbor_radius).mean(1)
