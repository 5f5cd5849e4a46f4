"""local_outlier_factor: scikit-learn's factor; a reference row is not its own neighbor."""

from __future__ import annotations

import pytest
import torch
from sklearn.neighbors import LocalOutlierFactor

from cleaner.detectors import DETECTORS
from tests.detectors import naive


def test_scores_equal_scikit_learn() -> None:
    features = naive.make_features()
    expected = -LocalOutlierFactor(n_neighbors=4).fit(features.numpy()).negative_outlier_factor_
    assert DETECTORS["local_outlier_factor"](k=4).score(features).tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_rows_of_the_reference_are_left_out_of_their_neighbors() -> None:
    features, rows = naive.make_features(), torch.tensor(naive.ROWS)
    factor = LocalOutlierFactor(n_neighbors=4, novelty=True).fit(features[rows].numpy())
    expected = -factor.score_samples(features.numpy())
    expected[naive.ROWS] = -factor.negative_outlier_factor_
    scores = DETECTORS["local_outlier_factor"](k=4).score(features, features[rows], rows=rows)
    assert scores.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    strangers = DETECTORS["local_outlier_factor"](k=4).score(features, features[rows])
    assert not torch.allclose(strangers[rows], scores[rows])
