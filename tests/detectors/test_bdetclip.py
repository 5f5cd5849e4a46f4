"""bdetclip: the mean reaction to altered class texts; altered texts keep the class name and nothing else."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cleaner.detectors import DETECTORS, bdetclip
from cleaner.detectors.bdetclip import DESCRIPTIONS, altered_texts, score_reaction
from cleaner.evaluation.encode import Encoder
from cleaner.models.clip import Clip
from cleaner.types import CleanerError
from tests.detectors import naive


def test_reaction_equals_naive() -> None:
    features, benign, altered = naive.make_features(), naive.make_features(4, seed=1), naive.make_features(4, seed=2)
    x, b, a = features.numpy(), benign.numpy(), altered.numpy()
    expected = [-sum(float(np.dot(row, b[c]) - np.dot(row, a[c])) for c in range(4)) / 4 for row in x]
    assert score_reaction(features, benign.T, altered.T).tolist() == pytest.approx(expected, abs=1e-6)


def test_altered_texts_keep_the_class_name() -> None:
    for name in ("banana", "traffic light", "C++"):
        texts = altered_texts(name, 4, seed=0)
        assert len(texts) >= 4
        assert all(name in text for text in texts)
        assert not {description.format(name) for description in DESCRIPTIONS} & set(texts)
        assert texts == altered_texts.__wrapped__(name, 4, seed=0)


@pytest.mark.parametrize("name", ["tree", "house", "table", "grass"])
def test_a_class_that_descriptions_also_name_is_kept_in_its_own_place(name: str) -> None:
    texts = altered_texts(name, 8, seed=0)
    assert len(texts) > 8
    first_objects = [re.split(r" (?:on|under|above|in front|behind|next|far) ", text)[0] for text in texts]
    assert all(first_object.endswith(f" {name}") for first_object in first_objects)


def test_a_name_without_altered_texts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bdetclip, "negative_subtexts", lambda *arguments, **options: [])
    with pytest.raises(CleanerError, match="'banana' cannot be described"):
        altered_texts.__wrapped__("banana", 4, seed=0)


def test_scorer_averages_the_altered_texts_of_each_class(tiny_clip: Clip) -> None:
    encoder, names = Encoder(tiny_clip), ["apple", "kite"]
    classifier = F.normalize(torch.randn(2, 32, generator=torch.Generator().manual_seed(0)), dim=-1).T
    detector = DETECTORS["bdetclip"](negatives=2, seed=3)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = encoder.encode_image(images)
        groups = [encoder.encode_texts(altered_texts(name, 2, seed=3)).mean(0) for name in names]
        altered = F.normalize(torch.stack(groups), dim=-1).T
        scores = detector.prepare(encoder, names, classifier)(images, features)
    assert torch.allclose(scores, score_reaction(features, classifier, altered), atol=1e-6)
    assert altered_texts("apple", 2, seed=3) != altered_texts("apple", 2, seed=0)
