"""Dimensionality-aware outlier score: SLOF that knows how many dimensions a neighborhood has (arXiv:2502.01385)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.config import param
from cleaner.detectors.base import DETECTORS
from cleaner.detectors.neighbors import EPSILON, NeighborDetector, find_neighborhoods


@DETECTORS.register("dao")
@dataclass(frozen=True)
class Dao(NeighborDetector):
    """How sparse an image's neighborhood is compared with its neighbors', scaled by their local dimension.

    Score: mean of LID_j log(r_k(i) / r_k(j)) over the k nearest reference images j.

    LID_j = -k / sum_{m<k} log(r_m(j) / r_k(j)), the local intrinsic dimension at j; r_m: distance to the m-th nearest
    reference row. Own rows are left out of queries and reference alike, and nothing is added in the logarithm; the
    published code does otherwise in both.
    """

    label: ClassVar[str] = "DAO"
    source: ClassVar[str] = "arXiv:2502.01385"
    is_reimplemented: ClassVar[bool] = True

    k: int = param(16, low=2, high=256, label="Neighbors k", help="Number of nearest neighbors.")

    def _score(self, features: Tensor, reference: Tensor, rows: Tensor, captions: Tensor | None) -> Tensor:
        found = find_neighborhoods(features, reference, rows, self.k)
        radius = found.reference_distances[:, -1]
        shares = (found.reference_distances[:, :-1] / radius[:, None]).log().sum(1)
        dimension = self.k / (-shares).clamp(min=EPSILON)  # 0 if the k neighbors are equally far
        ratio = (found.radius[:, None] / radius[found.indices]).log()
        return (dimension[found.indices] * ratio).mean(1)
