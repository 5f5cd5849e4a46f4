"""Projection: the directions of largest variance, and what it refuses."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cleaner.files import cache_root, child_environment
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


def test_umap_has_a_place_for_compiled_code_in_a_read_only_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba raises if neither the package's folder nor the user's is writable, as in a container."""
    used: list[str] = []

    class Fitted:
        def __init__(self, **_: object) -> None:
            used.append(os.environ["NUMBA_CACHE_DIR"])

        def fit_transform(self, _: object) -> np.ndarray:
            return np.zeros((60, 2))

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Fitted))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setattr(os, "access", lambda *_: False)
    project(FEATURES, "umap")
    assert used == [str(cache_root() / "numba")]
    assert "NUMBA_CACHE_DIR" not in child_environment()


def test_projection_rejects_invalid_input() -> None:
    with pytest.raises(CleanerError, match="at least 4"):
        project(FEATURES[:3])
    with pytest.raises(CleanerError, match="at most 3,000"):
        project(torch.ones(3001, 4), "umap")
