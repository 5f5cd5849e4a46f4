"""Equal accuracy: the lowest ASR within a loss, interpolated between neighboring rates."""

from __future__ import annotations

import pytest
import torch

from cleaner.evaluation.equal_accuracy import (
    Setting,
    equal_accuracy_curve,
    interpolate_asr,
    lowest_asr,
)

CURVE = [Setting(1e-4, 0.01, 0.8), Setting(1e-3, 0.03, 0.4), Setting(1e-2, 0.09, 0.1)]


def test_the_lowest_asr_within_the_loss_counts() -> None:
    assert lowest_asr(CURVE, 0.03, undefended=0.9) == 0.4
    assert lowest_asr(CURVE, 0.005, undefended=0.9) == 0.9, "the model may stay as it is"
    assert lowest_asr([Setting(1e-3, -0.01, 0.95)], 0.0, undefended=0.9) == 0.9
    before, after = torch.tensor([0.97, 0.95]).tolist()
    assert lowest_asr([Setting(1e-3, before - after, 0.4)], 0.02, undefended=0.9) == 0.4, "shares are float32"


def test_between_neighbors_asr_and_loss_are_linear() -> None:
    assert interpolate_asr(CURVE, 0.02, undefended=0.9) == pytest.approx(0.6)
    assert interpolate_asr(CURVE, 0.05, undefended=0.9) == pytest.approx(0.4 - 0.3 / 3)
    assert interpolate_asr(CURVE, 0.0, undefended=0.9) == 0.9
    assert interpolate_asr(CURVE, 1.0, undefended=0.9) == 0.1


def test_the_crossing_is_found_where_the_loss_falls_with_the_rate() -> None:
    hump = [Setting(1e-4, 0.06, 0.5), Setting(1e-3, 0.02, 0.1)]
    assert interpolate_asr(hump, 0.04, undefended=0.9) == pytest.approx(0.1)
    rising = [Setting(1e-4, 0.06, 0.1), Setting(1e-3, 0.02, 0.5)]
    assert interpolate_asr(rising, 0.04, undefended=0.9) == pytest.approx(0.3)


def test_an_unmeasured_rate_in_between_is_not_bridged() -> None:
    grid = [1e-4, 3e-4, 1e-3, 1e-2]
    assert interpolate_asr(CURVE, 0.02, undefended=0.9, grid=grid) == 0.8
    assert interpolate_asr(CURVE, 0.05, undefended=0.9, grid=grid) == pytest.approx(0.3)


def test_the_curve_is_the_mean_over_models() -> None:
    models = [(0.9, CURVE), (0.7, [Setting(1e-3, 0.02, 0.2)])]
    curve = equal_accuracy_curve(models, [0.0, 0.02, 0.1])
    assert curve[0] == pytest.approx((0.8, 0.7, 0.9))
    assert curve[1] == pytest.approx((0.5, 0.2, 0.8))
    assert curve[2] == pytest.approx((0.15, 0.1, 0.2))
    assert equal_accuracy_curve([], [0.0]) == []
