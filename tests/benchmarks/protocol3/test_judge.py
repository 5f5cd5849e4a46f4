"""The rule of the third protocol, on curves whose answer is known."""

from __future__ import annotations

from math import inf, log

import pytest

from benchmarks.protocol3 import judge
from benchmarks.protocol3.judge import Curve, bound_asr, defender_asr, paired_gaps, read_curves
from cleaner.evaluation.equal_accuracy import Setting

USUAL = (Setting(3e-4, 0.0, 0.9), Setting(1e-3, 0.01, 0.6), Setting(2e-3, 0.03, 0.2), Setting(8e-3, 0.2, 0.0))


def make_curve(*settings: Setting, method: str = "cleanclip", seed: int = 11, undefended: float = 1.0) -> Curve:
    return Curve(
        method=method, attack="badnet", seed=seed, short_captions=0.08, undefended=undefended, settings=settings
    )


def test_a_defender_takes_the_largest_rate_within_the_budget() -> None:
    assert defender_asr(USUAL, 1.0, 0.03) == pytest.approx(0.2)
    assert defender_asr(USUAL, 1.0, 0.01) == pytest.approx(0.6)


def test_between_two_rates_loss_and_asr_are_linear() -> None:
    assert defender_asr(USUAL, 1.0, 0.02) == pytest.approx(0.4)


def test_without_an_affordable_rate_the_backdoored_model_stays() -> None:
    assert defender_asr((Setting(3e-4, 0.08, 0.5), Setting(1e-3, 0.09, 0.1)), 0.97, 0.05) == 0.97


def test_a_curve_that_comes_back_is_taken_at_its_largest_affordable_rate() -> None:
    u_shaped = (Setting(3e-4, 0.06, 0.9), Setting(1e-3, 0.02, 0.5), Setting(2e-3, 0.04, 0.3))
    assert defender_asr(u_shaped, 1.0, 0.04) == pytest.approx(0.3)
    assert defender_asr(u_shaped, 1.0, 0.01) == 1.0


def test_the_bound_takes_a_smaller_rate_that_leaves_less_and_the_defender_does_not() -> None:
    crossing = (Setting(3e-4, 0.0, 0.1), Setting(1e-3, 0.01, 0.6))
    assert bound_asr(crossing, 1.0, 0.02) == pytest.approx(0.1)
    assert defender_asr(crossing, 1.0, 0.02) == pytest.approx(0.6)


def test_a_rate_that_diverged_is_no_choice_and_no_neighbor() -> None:
    settings = (Setting(1e-3, 0.01, 0.6), Setting(2e-3, inf, 1.0))
    assert defender_asr(settings, 1.0, 0.04) == pytest.approx(0.6)
    assert bound_asr(settings, 1.0, 0.04) == pytest.approx(0.6)


def test_the_area_is_a_mean_over_the_logarithm_of_the_budget() -> None:
    low, high = judge.budgets()[0], judge.budgets()[-1]
    step = (Setting(1e-3, 0.01, 0.0),)  # 1 below a loss of 0.01, 0 from there on
    expected = log(0.01 / low) / log(high / low)
    assert make_curve(*step).area(defender_asr) == pytest.approx(expected, abs=0.03)


def test_a_curve_that_ends_with_the_grid_is_open() -> None:
    assert make_curve(*USUAL).ends_open(0.3)
    assert not make_curve(*USUAL).ends_open(0.05)


def test_gaps_are_paired_by_seed() -> None:
    good, bad = Setting(2e-2, 0.0, 0.2), Setting(2e-2, 0.0, 0.7)
    curves = [make_curve(bad), make_curve(good, method="ta_cleaner"), make_curve(good, method="ta_cleaner", seed=12)]
    assert paired_gaps(curves, "ta_cleaner", "cleanclip", defender_asr) == {11: pytest.approx(-0.5)}


def test_rows_become_curves_with_the_loss_against_their_own_backdoored_model() -> None:
    base = {"phase": "main", "trigger": "badnet", "seed": 11, "short_captions": 0.0}
    suspect = {**base, "method": "", "lr": 0.0, "validation_ca": 0.98, "metrics": {"asr": {"1": 0.99}}}
    cell = {**base, "method": "cleanclip", "lr": 1e-3, "short_captions": 0.08}
    rows = [
        suspect,
        {**cell, "validation_ca": 0.95, "metrics": {"asr": {"1": 0.5}}},
        {**cell, "lr": 2e-2, "metrics": None},
    ]
    (curve,) = read_curves(rows)
    assert (curve.undefended, curve.short_captions) == (0.99, 0.08)
    assert [setting.loss for setting in curve.settings] == [pytest.approx(0.03), inf]
