"""Paired comparison of two models: outcomes round-trip as text, and the interval is paired."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from cleaner.attacks import TRIGGERS
from cleaner.data.base import TensorData
from cleaner.evaluation import bootstrap
from cleaner.evaluation.evaluate import evaluate
from cleaner.evaluation.protocol import is_same_test
from cleaner.models.clip import Clip
from tests.pages.runs import make_metrics

pytestmark = pytest.mark.quick


def test_outcomes_round_trip_as_text() -> None:
    outcomes = np.random.default_rng(1).random(1001) < 0.3
    assert (bootstrap.unpack_outcomes(bootstrap.pack_outcomes(outcomes), 1001) == outcomes).all()


def test_interval_equals_scipys_paired_bootstrap() -> None:
    rng = np.random.default_rng(2)
    before = rng.random(800) < 0.9
    after = before & (rng.random(800) < 0.4)
    library = stats.bootstrap(
        (before.astype(float), after.astype(float)),
        lambda a, b, axis: (b - a).mean(axis),
        paired=True,
        method="percentile",
        n_resamples=5000,
        rng=rng,
        batch=500,
    ).confidence_interval
    assert bootstrap.bootstrap_interval(before, after) == pytest.approx((library.low, library.high), abs=0.005)


def test_paired_interval_is_narrower_than_two_single_ones() -> None:
    before = np.arange(1000) < 900
    after = before & (np.arange(1000) >= 20)  # 20 images worse, none better
    low, high = bootstrap.bootstrap_interval(before, after)
    assert -0.03 < low < -0.02 < high < -0.01


@pytest.mark.parametrize("n", [1, 20, 1000])
def test_interval_of_equal_outcomes_is_the_exact_bound(n: int) -> None:
    yes, no = np.ones(n, bool), np.zeros(n, bool)
    bound = stats.binomtest(0, n).proportion_ci(0.95, "exact").high
    assert bootstrap.bootstrap_interval(yes, yes) == pytest.approx((-bound, bound))
    assert bootstrap.bootstrap_interval(yes, no) == pytest.approx((-1, max(-1, 2 * bound - 1)))
    assert bootstrap.bootstrap_interval(no, yes) == pytest.approx((1 - 2 * bound, 1))


def test_metrics_of_an_evaluation_can_be_compared(tiny_clip: Clip, toy_data: TensorData) -> None:
    metrics = evaluate(tiny_clip, toy_data, TRIGGERS["badnet"](), "banana", ks=(1,))
    stored = json.loads(json.dumps(metrics.to_dict()))
    for name in bootstrap.COUNT_FIELDS:
        low, high = bootstrap.metric_difference_interval(stored, metrics, name) or (0.0, 0.0)
        assert -0.1 < low < 0 < high == -low
    for name in bootstrap.COUNT_FIELDS:
        shares = bootstrap.unpack_outcomes(metrics.outcomes[name], stored[bootstrap.COUNT_FIELDS[name]])
        assert shares.mean() == pytest.approx(getattr(metrics, name)[1])


def test_other_images_or_old_metrics_are_not_compared() -> None:
    old = make_metrics(0.9).to_dict()
    new = replace(make_metrics(0.1), outcomes={"asr": bootstrap.pack_outcomes(np.arange(96) < 10)}).to_dict()
    assert bootstrap.metric_difference_interval(old, new, "asr") is None
    assert bootstrap.metric_difference_interval(new, new, "asr") == bootstrap.bootstrap_interval(
        np.zeros(96, bool), np.zeros(96, bool)
    )
    assert bootstrap.metric_difference_interval(new, new | {"data": "other/test"}, "asr") is None
    assert bootstrap.metric_difference_interval(new, new | {"n_attack": 95}, "asr") is None
    assert bootstrap.metric_difference_interval(new, new | {"queries": "captions"}, "asr") is None
    assert bootstrap.metric_difference_interval(new, new | {"data_sha256": "of another draw of as many"}, "asr") is None


def test_other_prompts_are_not_compared(tiny_clip: Clip, toy_data: TensorData) -> None:
    metrics = evaluate(tiny_clip, toy_data, ks=(1,)).to_dict()
    assert bootstrap.metric_difference_interval(metrics, metrics, "ca") is not None
    for other in ({"templates": metrics["templates"] + 1}, {"class_names_sha256": "0" * 64}):
        assert bootstrap.metric_difference_interval(metrics, metrics | other, "ca") is None
        assert not is_same_test(metrics, metrics | other)
    older = {name: value for name, value in metrics.items() if name not in ("templates", "class_names_sha256")}
    assert bootstrap.metric_difference_interval(older, metrics, "ca") is not None
