"""Figures of detectors: AUROC and its interval, thresholds, precision at the top, ROC curves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cleaner.evaluation.bootstrap import auroc_interval
from cleaner.evaluation.detection import (
    apply_threshold,
    conformal_p,
    describe_calibration,
    find_threshold,
    measure_detection,
    measure_ranking,
    rank,
    roc_curve,
)
from cleaner.types import CleanerError


def naive_auroc(clean: np.ndarray, poisoned: np.ndarray) -> float:
    difference = poisoned[:, None] - clean
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def draw(seed: int, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, 300).round(1), rng.normal(shift, 1, 60).round(1)


def test_figures_equal_naive_counts() -> None:
    clean, poisoned = draw(0)
    figures = measure_detection(clean, poisoned)
    assert figures.auroc == pytest.approx(naive_auroc(clean, poisoned))
    assert (figures.clean, figures.poisoned) == (300, 60)
    for allowed, caught in zip((0.01, 0.05), figures.caught, strict=True):
        best = max((poisoned > t).mean() for t in np.unique([*clean, *poisoned]) if (clean > t).mean() <= allowed)
        assert caught == pytest.approx(best)
    scores, truth = np.concatenate([clean, poisoned]), np.repeat([False, True], [300, 60])
    orders = (np.random.default_rng(seed).permutation(360) for seed in range(500))
    precisions = [truth[order][np.argsort(-scores[order], kind="stable")[:60]].mean() for order in orders]
    assert figures.top_precision == pytest.approx(np.mean(precisions), abs=0.003)
    assert rank(np.array([1.0, 3.0, 3.0, 2.0])).tolist() == [1, 2, 3, 0]
    few = measure_detection(np.array([0.0, 2.0]), np.array([1.0, 3.0]))
    assert (few.top_precision, few.average_precision) == (0.5, pytest.approx(5 / 6))
    assert measure_detection(np.ones(30), np.ones(10)).top_precision == 0.25
    assert [measure_detection(*groups).is_reversed for groups in ((clean, poisoned), (poisoned, clean))] == [
        False,
        True,
    ]


def test_interval_equals_scipys_bootstrap() -> None:
    clean, poisoned = draw(1)
    library = stats.bootstrap(
        (clean, poisoned),
        naive_auroc,
        vectorized=False,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    low, high = auroc_interval(clean, poisoned)
    assert (low, high) == pytest.approx((library.low, library.high), abs=0.006)
    assert low < naive_auroc(clean, poisoned) < high


def test_interval_of_separate_groups_depends_on_their_size() -> None:
    few, many = (auroc_interval(np.zeros(n), np.ones(n)) for n in (5, 500))
    assert few[1] == many[1] == 1
    assert few[0] < 0.6 < 0.99 < many[0]
    single = auroc_interval(np.arange(100.0), np.array([98.5]))
    assert single[0] < 0.5 < 0.99 < single[1], "one poisoned item says little"
    assert auroc_interval(np.ones(5), np.zeros(5)) == pytest.approx((0, 1 - few[0]))
    assert auroc_interval(np.ones(5), np.ones(9)) == pytest.approx((few[0] / 2, 1 - few[0] / 2))


def test_the_interval_of_groups_that_hardly_overlap_is_no_narrower_than_of_separate_ones() -> None:
    apart = np.arange(500.0), np.arange(500.0, 1000.0)
    touching = np.append(apart[0][:-1], 500.0), np.append(apart[1][1:], 499.0)
    assert auroc_interval(*touching)[0] == pytest.approx(auroc_interval(*apart)[0], abs=1e-4)


def test_scores_of_the_same_images_are_resampled_together() -> None:
    """Against a naive paired bootstrap."""
    generator = np.random.default_rng(3)
    clean = generator.normal(size=150)
    triggered = clean + generator.normal(0.05, 0.1, 150)
    images = np.arange(150)
    resamples = [generator.integers(150, size=150) for _ in range(1000)]
    naive = np.percentile([naive_auroc(clean[rows], triggered[rows]) for rows in resamples], [2.5, 97.5])
    paired = auroc_interval(clean, triggered, (images, images))
    assert paired == pytest.approx(tuple(naive), abs=0.006)
    low, high = auroc_interval(clean, triggered)
    assert high - low > 3 * (paired[1] - paired[0])


def test_items_of_one_image_count_as_one() -> None:
    clean, poisoned = np.arange(100.0), np.full(30, 70.5)
    low, high = auroc_interval(clean, poisoned, (np.arange(100), np.full(30, -1)))
    assert low < 0.05
    assert high > 0.95
    low, high = auroc_interval(clean, poisoned)
    assert high - low < 0.2


def test_both_groups_are_needed() -> None:
    for clean, poisoned in ((np.zeros(0), np.ones(3)), (np.zeros(3), np.ones(0))):
        with pytest.raises(CleanerError, match="empty"):
            measure_detection(clean, poisoned)


def test_a_good_ranking_can_catch_nothing_at_a_fixed_threshold() -> None:
    calibration, clean = np.linspace(0, 2, 101), np.linspace(0, 1, 101)
    poisoned = np.full(50, 1.5)
    outcome = apply_threshold(calibration, clean, poisoned, 0.01)
    assert measure_detection(clean, poisoned).auroc == 1
    assert (outcome.false_alarms, outcome.caught, outcome.f1) == (0, 0, 0)
    fitting = apply_threshold(clean, clean, poisoned, 0.05)
    assert fitting.false_alarms <= 0.05
    assert fitting.caught == 1
    assert fitting.f1 == pytest.approx(2 / (2 + fitting.false_alarms))


def test_poisoned_items_can_be_marked_by_numbers() -> None:
    scores, truth = np.array([0.1, 0.2, 0.3, 0.9, 0.8]), np.array([0, 0, 0, 1, 1])
    figures = measure_ranking(scores, truth)
    assert figures == measure_ranking(scores, truth == 1)
    assert figures is not None
    assert figures.auroc == 1


def test_threshold_never_exceeds_the_allowed_share() -> None:
    assert find_threshold(np.array([1.0, 2.0, 3.0]), 1.0) == 1
    for n in (1, 19, 20, 100):
        clean = np.arange(n, dtype=float)
        assert (clean > find_threshold(clean, 0.05)).mean() <= 0.05


@pytest.mark.parametrize(("n", "few"), [(100, ""), (99, "too few for 1% false"), (19, "too few for 1% and 5% false")])
def test_few_calibration_images_are_named(n: int, few: str) -> None:
    assert describe_calibration(n).startswith(f"Threshold from {n} clean validation images.")
    assert few in describe_calibration(n)
    assert ("too few" in describe_calibration(n)) == bool(few)


def test_roc_curve_runs_from_corner_to_corner_and_has_the_area() -> None:
    clean, poisoned = draw(3)
    alarms, caught = roc_curve(clean, poisoned)
    assert (alarms[0], caught[0], alarms[-1], caught[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(caught, alarms) == pytest.approx(naive_auroc(clean, poisoned))
    assert len(roc_curve(np.random.default_rng(0).random(900), np.random.default_rng(1).random(900))[0]) <= 201


def test_conformal_p_counts_equal_scores_and_holds_its_rate() -> None:
    assert conformal_p(np.array([0.1, 0.2, 0.2, 0.3]), 0.2) == pytest.approx(4 / 5)
    assert conformal_p(np.array([0.1, 0.2]), 1.0) == pytest.approx(1 / 3)
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, 20))
    assert np.mean([conformal_p(each[1:], each[0]) <= 0.1 for each in draws]) == pytest.approx(0.1, abs=0.02)
