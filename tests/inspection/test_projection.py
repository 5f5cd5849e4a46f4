"""Projection: fitted once, then only applied."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cleaner.inspection.projection import Projection
from cleaner.types import CleanerError

FEATURES = torch.nn.functional.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(0)), dim=-1)


def test_pca_has_the_largest_variance_and_transforms_consistently() -> None:
    projection = Projection("pca")
    coordinates = projection.fit(FEATURES)
    np.testing.assert_allclose(projection.transform(FEATURES[:5]), coordinates[:5], atol=1e-6)
    centered = (FEATURES - FEATURES.mean(0)).numpy()
    values = np.linalg.svd(centered, compute_uv=False)
    np.testing.assert_allclose(np.square(coordinates).sum(0), np.square(values[:2]), rtol=1e-4)
    np.testing.assert_allclose(Projection("pca").fit(FEATURES), coordinates)


def test_projection_rejects_invalid_input() -> None:
    with pytest.raises(CleanerError, match="pca, umap"):
        Projection("tsne")
    with pytest.raises(CleanerError, match="at least 4"):
        Projection().fit(FEATURES[:3])
    with pytest.raises(CleanerError, match="at most 3,000"):
        Projection("umap").fit(torch.ones(3001, 4))
    with pytest.raises(CleanerError, match="fit the projection first"):
        Projection().transform(FEATURES)
