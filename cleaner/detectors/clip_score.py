"""CLIP score: a poisoned image does not match its caption (arXiv:2104.08718)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cleaner.detectors.base import DETECTORS, PairDetector
from cleaner.types import CleanerError


@DETECTORS.register("clip_score")
@dataclass(frozen=True)
class ClipScore(PairDetector):
    """Cosine of image and caption (sign changed); needs no reference."""

    label: ClassVar[str] = "CLIP score"
    source: ClassVar[str] = "arXiv:2104.08718"
    uses_reference: ClassVar[bool] = False

    def _score(self, features: Tensor, reference: Tensor, rows: Tensor, captions: Tensor | None) -> Tensor:
        if captions is None or len(captions) != len(features):
            raise CleanerError("clip_score compares images with captions: give the features of one caption per image.")
        return -(features * captions).sum(1)
