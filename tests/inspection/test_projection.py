"""Projection: fitted once, then only transformed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cleaner.inspection.projection import Projection
from cleaner.types import CleanerError

FEATURES = torch.nn.functional.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(0)), dim=-1)


def test_pca_is_the_plane_of_most_variation_and_transforms_what_it_was_fitted_on_alike() -> None:
    projection = Projection("pca")
    places = projection.fit(FEATURES)
    np.testing.assert_allclose(projection.transform(FEATURES[:5]), places[:5], atol=1e-6)
    centred = (FEATURES - FEATURES.mean(0)).numpy()
    values = np.linalg.svd(centred, compute_uv=False)
    np.testing.assert_allclose(np.square(places).sum(0), np.square(values[:2]), rtol=1e-4)
    np.testing.assert_allclose(Projection("pca").fit(FEATURES), places)


def test_what_cannot_be_projected_is_refused() -> None:
    with pytest.raises(CleanerError, match="pca, umap"):
        Projection("tsne")
    with pytest.raises(CleanerError, match="at least 4"):
        Projection().fit(FEATURES[:3])
    with pytest.raises(CleanerError, match="at most 3,000"):
        Projection("umap").fit(torch.ones(3001, 4))
    with pytest.raises(CleanerError, match="fit the projection first"):
        Projection().transform(FEATURES)
