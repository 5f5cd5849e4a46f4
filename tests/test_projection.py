"""Projection: fitted once, then only transformed; kept whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cleaner.projection import Projection, load_coordinates, save_coordinates, start
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


def test_coordinates_are_kept_and_others_are_not_taken_for_them(tmp_path: Path) -> None:
    path = tmp_path / "projections" / "x.npy"
    assert load_coordinates(path, 3) is None
    save_coordinates(path, np.ones((3, 2), np.float32))
    kept = load_coordinates(path, 3)
    assert kept is not None
    assert kept.tolist() == [[1, 1]] * 3
    assert load_coordinates(path, 4) is None
    path.write_bytes(b"broken")
    assert load_coordinates(path, 3) is None
    assert [p.name for p in path.parent.iterdir()] == ["x.npy"]


@pytest.mark.slow
def test_umap_in_a_process_of_its_own_gives_the_same_picture_each_time(tmp_path: Path) -> None:
    groups = torch.cat([FEATURES[:30] + 3 * torch.eye(8)[0], FEATURES[30:] - 3 * torch.eye(8)[0]])
    found = []
    for name in ("a", "b"):
        assert start(groups, tmp_path / f"{name}.npy").wait(300) == 0
        found.append(load_coordinates(tmp_path / f"{name}.npy", 60))
    assert found[0] is not None
    np.testing.assert_array_equal(found[0], found[1])
    apart = np.linalg.norm(found[0][:30].mean(0) - found[0][30:].mean(0))
    assert apart > found[0][:30].std()
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".log", ".log", ".npy", ".npy"]
