"""Contract of every detector; a new one is picked up through the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from cleaner.data.base import TensorData
from cleaner.detectors import DETECTORS
from cleaner.detectors.base import ImageDetector, ImageScorer, PairDetector, draw_reference, find_detectors
from cleaner.evaluation.encode import Encoder
from cleaner.inspection.image_detection import score_single
from cleaner.models.clip import Clip
from cleaner.types import CleanerError
from tests.detectors import naive

PAIRS, IMAGES = find_detectors("pairs"), find_detectors("image")


def test_every_detector_answers_a_question_and_is_restored() -> None:
    assert {*PAIRS, *IMAGES} == set(DETECTORS)
    for name in DETECTORS:
        assert DETECTORS.load(DETECTORS[name]().state_dict()) == DETECTORS[name]()


@pytest.fixture(params=list(PAIRS))
def detector(request: pytest.FixtureRequest) -> Any:
    return PAIRS[request.param]()


def test_scores_are_finite_and_the_input_stays(detector: Any) -> None:
    features, captions = naive.make_features(60), naive.make_features(60, seed=1)
    before = features.clone()
    scores = detector.score(features, captions=captions)
    assert scores.shape == (60,)
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()
    assert features.equal(before)
    assert detector.score(features, captions=captions).equal(scores)


def test_features_with_gradients_are_scored_without(detector: Any) -> None:
    features, captions = naive.make_features(60), naive.make_features(60, seed=1)
    scores = detector.score(features.clone().requires_grad_(), captions=captions.clone().requires_grad_())
    assert not scores.requires_grad
    assert scores.equal(detector.score(features, captions=captions))


def test_duplicates_have_finite_scores(detector: Any) -> None:
    features = naive.make_features(60)[:1].repeat(60, 1)
    assert detector.score(features, captions=features).isfinite().all()


def test_a_small_reference_is_refused(detector: Any) -> None:
    features = naive.make_features(60)
    if not detector.uses_reference:
        assert detector.score(features, features[:1], captions=features).shape == (60,)
        return
    with pytest.raises(CleanerError, match=r"reference pairs, .*larger reference"):
        detector.score(features, features[: detector.min_reference - 1], captions=features)


def test_broken_features_are_refused(detector: Any) -> None:
    with pytest.raises(CleanerError, match="finite"):
        detector.score(torch.full((40, 4), torch.nan), captions=torch.ones(40, 4))
    features, broken = naive.make_features(60), naive.make_features(60)
    broken[3] = torch.nan
    for given in ({"reference": broken, "captions": features}, {"captions": broken}):
        with pytest.raises(CleanerError, match="finite"):
            detector.score(features, **given)


@dataclass(frozen=True)
class OwnPairs(PairDetector):
    value: float
    columns: tuple[int, ...]

    def _score(self, features: Tensor, *_: Any) -> Tensor:
        return torch.full((len(features), *self.columns), self.value)


@dataclass(frozen=True)
class OwnImages(ImageDetector):
    value: float
    columns: tuple[int, ...]

    def prepare(self, *_: Any) -> ImageScorer:
        return lambda images, features: torch.full((len(images), *self.columns), self.value)


@pytest.mark.parametrize(
    ("value", "columns", "message"), [(0.5, (1,), r"one score per item, .*, 1\)"), (torch.nan, (), "are not finite")]
)
def test_an_own_detector_with_invalid_scores_is_named(
    value: float, columns: tuple[int, ...], message: str, tiny_clip: Clip, toy_data: TensorData
) -> None:
    with pytest.raises(CleanerError, match=f"OwnPairs .*{message}"):
        OwnPairs(value, columns).score(naive.make_features(60))
    with pytest.raises(CleanerError, match=f"OwnImages .*{message}"):
        score_single(tiny_clip, OwnImages(value, columns), toy_data, toy_data.images(range(2)))


@pytest.mark.parametrize("name", list(IMAGES))
def test_image_scores_do_not_depend_on_the_batch(name: str, tiny_clip: Clip) -> None:
    encoder, images = Encoder(tiny_clip), torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = encoder.encode_image(images)
        classifier = torch.nn.functional.normalize(features[:3], dim=-1).T
        scorer = IMAGES[name]().prepare(encoder, ["apple", "banana", "kite"], classifier)
        scores = scorer(images, features)
        single = torch.cat([scorer(images[i : i + 1], features[i : i + 1]) for i in range(5)])
    assert scores.shape == (5,)
    assert scores.isfinite().all()
    assert torch.allclose(scores, single, atol=1e-6)


def test_a_reference_is_drawn_once_per_seed() -> None:
    rows = draw_reference(100, 10)
    assert rows.equal(draw_reference(100, 10))
    assert not rows.equal(draw_reference(100, 10, seed=1))
    assert len(set(rows.tolist())) == 10
    assert draw_reference(5, 10).tolist() == [0, 1, 2, 3, 4]


def test_features_of_other_kinds_are_taken_and_rows_are_counted(detector: Any) -> None:
    features, captions = naive.make_features(60), naive.make_features(60, seed=1)
    scores = detector.score(features, captions=captions)
    assert torch.equal(detector.score(features.numpy(), captions=captions.numpy()), scores)
    half = detector.score(features.bfloat16(), captions=captions.bfloat16())
    assert torch.equal(half, detector.score(features.bfloat16().float(), captions=captions.bfloat16().float()))
    with pytest.raises(CleanerError, match="rows has 10 values for 60"):
        detector.score(features, features, rows=torch.arange(10), captions=captions)
    with pytest.raises(CleanerError, match="differ in their dimensions"):
        detector.score(features, features[:, :4], captions=captions)
