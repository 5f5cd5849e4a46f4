"""Projection of features to two dimensions; fitted once on all points, then only applied."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cleaner.types import CleanerError

PROJECTIONS = ("pca", "umap")
MAX_UMAP_POINTS = 3000
"""Most points that UMAP is fitted on, which takes half a minute."""
_LOCK = threading.Lock()  # umap's compiled code is not thread-safe
Array = NDArray[np.float32]


class Projection:
    """Features (N, D) -> (N, 2): `Projection("pca").fit(all_features)`, then `transform` any features of that space.

    "pca": the two directions of largest variance, exact. "umap" (arXiv:1802.03426): keeps neighborhoods; cosine
    distance, 15 neighbors, 200 epochs, a fixed seed; distances between groups and their sizes mean nothing.
    """

    def __init__(self, method: str = "pca") -> None:
        if method not in PROJECTIONS:
            raise CleanerError(f"the projection must be one of {', '.join(PROJECTIONS)}, not {method!r}.")
        self.method = method
        self._center: Tensor | None = None
        self._axes: Tensor | None = None
        self._umap: Any = None

    @property
    def axes(self) -> tuple[Tensor, Tensor]:
        """Center (D,) and directions (2, D) of a fitted PCA."""
        if self._axes is None or self._center is None:
            raise CleanerError("only a fitted PCA has axes.")
        return self._center, self._axes

    def fit(self, features: Tensor) -> Array:
        """Fit on features (N, D) and return their coordinates (N, 2)."""
        if len(features) < 4:
            raise CleanerError(f"a projection needs at least 4 points, not {len(features)}.")
        features = F.normalize(features.float(), dim=-1)
        if self.method == "pca":
            self._center = features.mean(0)
            axes = torch.linalg.svd(features - self._center, full_matrices=False).Vh[:2]
            # The sign of a direction is arbitrary: make its largest entry positive.
            self._axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
            return self.transform(features)
        if len(features) > MAX_UMAP_POINTS:
            raise CleanerError(
                f"UMAP takes at most {MAX_UMAP_POINTS:,} points, not {len(features):,}: choose fewer images."
            )
        with _LOCK:
            from umap import UMAP

            n_neighbors = min(15, len(features) - 1)
            self._umap = UMAP(n_neighbors=n_neighbors, metric="cosine", n_epochs=200, random_state=0, n_jobs=1).fit(
                features.numpy()
            )
            return np.asarray(self._umap.embedding_, np.float32)

    def transform(self, features: Tensor) -> Array:
        """Return the coordinates (N, 2) of features (N, D) on the fitted map."""
        features = F.normalize(features.float(), dim=-1)
        if self._axes is not None and self._center is not None:
            return np.asarray(((features - self._center) @ self._axes.T).numpy(), np.float32)
        if self._umap is None:
            raise CleanerError("fit the projection first.")
        with _LOCK:
            return np.asarray(self._umap.transform(features.numpy()), np.float32)
