"""Center distance: poisoned pairs are far from the mean of the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.detectors.base import DETECTORS, PairDetector


@DETECTORS.register("center_distance")
@dataclass(frozen=True)
class CenterDistance(PairDetector):
    """Distance to the mean of the reference images."""

    unpublished: ClassVar[str] = "an example of this project"

    def _score(self, features: Tensor, reference: Tensor, rows: Tensor, captions: Tensor | None) -> Tensor:
        return (features - reference.mean(0)).square().sum(1).sqrt()
