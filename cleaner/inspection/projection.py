"""Projection of features to two dimensions, fitted on all points of a map."""

import os
import sysconfig
import threading

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cleaner.files import cache_root
from cleaner.types import CleanerError

MAX_UMAP_POINTS = 3000
"""Most points that UMAP is fitted on, which takes half a minute."""
_LOCK = threading.Lock()  # umap's compiled code is not thread-safe
Array = NDArray[np.float32]


def fit_pca(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the center (D,) of unit features (N, D), and their two directions of largest variance (2, D)."""
    center = features.mean(0)
    directions = torch.linalg.svd(features - center, full_matrices=False).Vh[:2]
    # The sign of a direction is arbitrary: make its largest entry positive.
    return center, directions * directions.gather(1, directions.abs().argmax(1, keepdim=True)).sign()


def project(features: Tensor, method: str = "pca") -> Array:
    """Return the coordinates (N, 2) of features (N, D), fitted on all of them.

    "pca": the two directions of largest variance, exact. "umap" (arXiv:1802.03426): keeps neighborhoods; cosine
    distance, 15 neighbors, 200 epochs, a fixed seed; distances between groups and their sizes mean nothing.
    """
    if len(features) < 4:
        raise CleanerError(f"a projection needs at least 4 points, not {len(features)}.")
    features = F.normalize(features.float(), dim=-1)
    if method == "pca":
        center, directions = fit_pca(features)
        return np.asarray(((features - center) @ directions.T).numpy(), np.float32)
    if len(features) > MAX_UMAP_POINTS:
        raise CleanerError(
            f"UMAP takes at most {MAX_UMAP_POINTS:,} points, not {len(features):,}: choose fewer images."
        )
    with _LOCK:
        if not os.access(sysconfig.get_path("purelib"), os.W_OK):  # numba needs a place for compiled code
            os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_root() / "numba"))
        from umap import UMAP

        n_neighbors = min(15, len(features) - 1)
        umap = UMAP(n_neighbors=n_neighbors, metric="cosine", n_epochs=200, random_state=0, n_jobs=1)
        return np.asarray(umap.fit_transform(features.numpy()), np.float32)
