"""clip_score: the cosine of image and caption with the sign changed."""

from __future__ import annotations

import numpy as np
import pytest

from cleaner.detectors import DETECTORS
from cleaner.types import CleanerError
from tests.detectors import naive


def test_scores_equal_naive() -> None:
    images, captions = naive.make_features(), naive.make_features(seed=1)
    expected = [-float(np.dot(i, c)) for i, c in zip(images.numpy(), captions.numpy(), strict=True)]
    assert DETECTORS["clip_score"]().score(images, captions=captions).tolist() == pytest.approx(expected, rel=1e-5)


def test_captions_are_required() -> None:
    with pytest.raises(CleanerError, match="caption"):
        DETECTORS["clip_score"]().score(naive.make_features())
