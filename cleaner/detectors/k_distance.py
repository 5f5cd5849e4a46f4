"""k-distance: poisoned pairs are far from their neighbors (arXiv:2502.01385)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.detectors.base import DETECTORS
from cleaner.detectors.neighbors import NeighborDetector, find_neighborhoods


@DETECTORS.register("k_distance")
@dataclass(frozen=True)
class KDistance(NeighborDetector):
    """Distance r_k to the k-th nearest reference image."""

    label: ClassVar[str] = "k-distance"
    source: ClassVar[str] = "arXiv:2502.01385"
    is_reimplemented: ClassVar[bool] = True

    def _score(self, features: Tensor, reference: Tensor, rows: Tensor, captions: Tensor | None) -> Tensor:
        return find_neighborhoods(features, reference, rows, self.k).radius
