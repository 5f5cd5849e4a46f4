"""Projection: the directions of largest variance, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cleaner.inspection.projection import fit_pca, project
from cleaner.types import CleanerError

FEATURES = torch.nn.functional.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(0)), dim=-1)


def test_pca_has_the_largest_variance_and_transforms_consistently() -> None:
    coordinates = project(FEATURES)
    center, directions = fit_pca(FEATURES)
    np.testing.assert_allclose((FEATURES[:5] - center) @ directions.T, coordinates[:5], atol=1e-5)
    centered = (FEATURES - FEATURES.mean(0)).numpy()
    values = np.linalg.svd(centered, compute_uv=False)
    np.testing.assert_allclose(np.square(coordinates).sum(0), np.square(values[:2]), rtol=1e-4)


def test_projection_rejects_invalid_input() -> None:
    with pytest.raises(CleanerError, match="at least 4"):
        project(FEATURES[:3])
    with pytest.raises(CleanerError, match="at most 3,000"):
        project(torch.ones(3001, 4), "umap")
