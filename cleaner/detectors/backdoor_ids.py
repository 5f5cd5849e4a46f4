"""BackdoorIDS: the features of a triggered image jump when its trigger is covered (arXiv:2603.11664)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cleaner.config import param
from cleaner.detectors.base import DETECTORS, ImageDetector, ImageScorer, Towers
from cleaner.seed import torch_generator

MIN_CLUSTER = 2
"""Fewest images of a cluster: a single one is noise to DBSCAN."""


@DETECTORS.register("backdoor_ids")
@dataclass(frozen=True)
class BackdoorIds(ImageDetector):
    """Smallest radius at which DBSCAN finds one cluster in an image's features while more and more of it is covered.

    The paper flags an image with more than one cluster; here each radius is a threshold. Covered are squares in the
    image's mean color, one after the other; their order and number are not public.
    """

    label: ClassVar[str] = "BackdoorIDS"
    source: ClassVar[str] = "arXiv:2603.11664"
    is_reimplemented: ClassVar[bool] = True

    grid: int = param(4, low=2, high=8, help="Squares on each side; the last one is never covered.")
    seed: int = param(0, low=0, high=9999, help="Seeds the order of the squares.")

    def prepare(self, towers: Towers, class_names: Sequence[str], classifier: Tensor) -> ImageScorer:
        order = torch.randperm(self.grid**2, generator=torch_generator("backdoor ids", self.seed))

        def score(images: Tensor, features: Tensor) -> Tensor:
            steps = [features] + [
                towers.encode_image(cover_squares(images, order[:covered], self.grid))
                for covered in range(1, self.grid**2)
            ]
            return torch.tensor([find_gap(each) for each in torch.stack(steps, 1).double().numpy()])

        return score


def cover_squares(images: Tensor, squares: Tensor, grid: int) -> Tensor:
    """Return a copy of images (N, 3, H, W) with some of grid x grid squares, counted by rows, in their mean color."""
    mask = torch.zeros(grid**2, device=images.device)
    mask[squares] = 1
    mask = F.interpolate(mask.view(1, 1, grid, grid), images.shape[-2:])
    return torch.where(mask > 0, images.mean(dim=(2, 3), keepdim=True), images)


def find_gap(features: NDArray[np.float64]) -> float:
    """Return the largest distance between two clusters of rows (T, D) that DBSCAN would merge.

    With growing radius DBSCAN merges what single linkage does; a cluster has at least `MIN_CLUSTER` rows. 0: one only.
    """
    from scipy.cluster.hierarchy import linkage

    sizes, gap = [1.0] * len(features), 0.0
    for a, b, distance, size in linkage(features, "single"):
        if min(sizes[int(a)], sizes[int(b)]) >= MIN_CLUSTER:
            gap = distance  # distances grow
        sizes.append(size)
    return float(gap)
