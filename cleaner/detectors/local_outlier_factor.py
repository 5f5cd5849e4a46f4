"""Local outlier factor: sparser than the neighbors, with smoothed distances (scikit-learn)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.detectors.base import DETECTORS
from cleaner.detectors.neighbors import NeighborDetector


@DETECTORS.register("local_outlier_factor")
@dataclass(frozen=True)
class LocalOutlierFactor(NeighborDetector):
    """Mean density of the k nearest reference images over the image's own."""

    label: ClassVar[str] = "Local outlier factor"
    source: ClassVar[str] = "doi:10.1145/335191.335388, scikit-learn"

    def _score(self, features: Tensor, reference: Tensor, rows: Tensor, captions: Tensor | None) -> Tensor:
        from sklearn.neighbors import LocalOutlierFactor as Factor

        factor = Factor(n_neighbors=self.k, novelty=True).fit(reference.numpy())
        scores = -torch.from_numpy(factor.score_samples(features.numpy()))
        is_known = rows >= 0
        # score_samples would find a reference row itself as its nearest neighbor.
        scores[rows[is_known]] = -torch.from_numpy(factor.negative_outlier_factor_)[is_known]
        return scores
