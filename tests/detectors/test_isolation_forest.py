"""isolation_forest: scikit-learn's score with the sign changed, fitted on the reference."""

from __future__ import annotations

import pytest
import torch
from sklearn.ensemble import IsolationForest

from cleaner.detectors import DETECTORS
from tests.detectors import naive


def test_scores_equal_scikit_learn() -> None:
    features = naive.make_features()
    detector = DETECTORS["isolation_forest"](trees=20, seed=3)
    for reference in (features, features[:20]):
        expected = (
            -IsolationForest(n_estimators=20, random_state=3).fit(reference.numpy()).score_samples(features.numpy())
        )
        assert detector.score(features, reference).tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_a_far_outlier_scores_highest() -> None:
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    features[17] += 10
    assert DETECTORS["isolation_forest"]().score(features, features).argmax() == 17
