"""k_distance: equals the distance to the k-th neighbor in plain numpy, with a reference and without."""

from __future__ import annotations

import pytest

from tests.detectors import naive


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("rows", [None, naive.ROWS], ids=["own rows", "sample"])
def test_scores_equal_naive(rows: list[int] | None, k: int) -> None:
    naive.assert_scores("k_distance", rows, k)
