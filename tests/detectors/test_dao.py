"""dao: equals the ratio of radii, weighted by the local dimension in plain numpy, with a reference and without."""

from __future__ import annotations

import pytest
import torch

from cleaner.detectors import DETECTORS
from tests.detectors import naive


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("rows", [None, naive.ROWS], ids=["own rows", "sample"])
def test_scores_equal_naive(rows: list[int] | None, k: int) -> None:
    features = naive.make_features()
    given = {} if rows is None else {"reference": features[rows], "rows": torch.tensor(rows)}
    scores = DETECTORS["dao"](k=k).score(features, **given)
    assert scores.tolist() == pytest.approx(naive.dao(features, rows, k), rel=1e-5)
