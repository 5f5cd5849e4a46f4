"""Isolation forest: unusual features are separated by few random cuts (scikit-learn)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.config import param
from cleaner.detectors.base import DETECTORS, PairDetector


@DETECTORS.register("isolation_forest")
@dataclass(frozen=True)
class IsolationForest(PairDetector):
    """How many random cuts separate an image from the reference images (sign changed)."""

    label: ClassVar[str] = "Isolation forest"
    source: ClassVar[str] = "doi:10.1109/ICDM.2008.17, scikit-learn"

    trees: int = param(100, low=1, high=1000, help="Random trees to average.")
    seed: int = param(0, low=0, high=9999, help="Seeds the trees.")

    def _score(self, features: Tensor, reference: Tensor, rows: Tensor, captions: Tensor | None) -> Tensor:
        from sklearn.ensemble import IsolationForest as Forest

        forest = Forest(n_estimators=self.trees, random_state=self.seed).fit(reference.numpy())
        return -torch.from_numpy(forest.score_samples(features.numpy()))
