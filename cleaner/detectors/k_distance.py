"""k-distance: poisons are far from their neighbors (arXiv:2502.01385)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.config import param
from cleaner.detectors.base import DETECTORS, PairDetector
from cleaner.detectors.neighbors import find_neighborhoods


@DETECTORS.register("k_distance")
@dataclass(frozen=True)
class KDistance(PairDetector):
    """Distance r_k to the k-th nearest reference image."""

    label: ClassVar[str] = "k-distance"
    source: ClassVar[str] = "arXiv:2502.01385"
    is_reimplemented: ClassVar[bool] = True

    k: int = param(16, low=1, high=256, label="Neighbors k", help="Neighbors that make a neighborhood.")

    @property
    def min_reference(self) -> int:
        return self.k + 1

    def _score(self, features: Tensor, reference: Tensor, rows: Tensor, captions: Tensor | None) -> Tensor:
        return find_neighborhoods(features, reference, rows, self.k).radius
