"""Subspace detection: a trigger moves an image to one text of a class, not to its other wordings (ICLR 2026)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cleaner.config import param
from cleaner.detectors.base import DETECTORS, ImageDetector, ImageScorer, Towers

WORDINGS = (
    "{}",
    "a {}",
    "one {}",
    "a photo of a {}.",
    "a good photo of the {}",
    "an image of a {}.",
    "a picture of a {}.",
    "a close-up of a {}.",
    "a view of a {}.",
    "a scene with a {}.",
    "a {} in the scene.",
    "there is a {}.",
    "the {} is here.",
    "this shows a {}.",
    "a {} can be seen.",
    "we see a {}.",
)
"""Texts of one meaning."""


@DETECTORS.register("subspace")
@dataclass(frozen=True)
class SubspaceDetection(ImageDetector):
    """Distance of an image's features to the affine subspace of the wordings of the class that it is predicted as.

    The subspace has the directions in which the wordings' features differ most. The paper measures the distance to a
    region in it, which is not public; here it is the whole subspace.
    """

    label: ClassVar[str] = "Subspace"
    source: ClassVar[str] = "openreview:Kpij6oOnJl"
    is_reimplemented: ClassVar[bool] = True

    dimensions: int = param(8, low=1, high=len(WORDINGS) - 1, help="Dimensions of the subspace.")

    def prepare(self, towers: Towers, class_names: Sequence[str], classifier: Tensor) -> ImageScorer:
        texts = towers.encode_texts([wording.format(name) for name in class_names for wording in WORDINGS])
        centers, bases = fit_subspaces(texts.view(len(class_names), len(WORDINGS), -1), self.dimensions)

        def score(images: Tensor, features: Tensor) -> Tensor:
            predicted = (features @ classifier).argmax(1)
            return measure_distance(features, centers[predicted], bases[predicted])

        return score


def fit_subspaces(points: Tensor, dimensions: int) -> tuple[Tensor, Tensor]:
    """Return centers (C, D) and orthonormal bases (C, K, D) of the affine subspaces of points (C, T, D)."""
    centers = points.mean(1)
    return centers, torch.linalg.svd(points - centers[:, None], full_matrices=False).Vh[:, :dimensions]


def measure_distance(features: Tensor, centers: Tensor, bases: Tensor) -> Tensor:
    """Return the distance (N,) of each row (N, D) to its subspace: center (N, D), basis (N, K, D)."""
    offset = (features - centers)[:, :, None]
    residual: Tensor = offset - bases.mT @ (bases @ offset)
    return residual.square().sum((1, 2)).sqrt()
