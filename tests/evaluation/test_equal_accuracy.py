"""Equal accuracy: the lowest ASR within a loss."""

from __future__ import annotations

import pytest
import torch

from cleaner.evaluation.equal_accuracy import (
    Setting,
    equal_accuracy_curve,
    lowest_asr,
)

CURVE = [Setting(1e-4, 0.01, 0.8), Setting(1e-3, 0.03, 0.4), Setting(1e-2, 0.09, 0.1)]


def test_the_lowest_asr_within_the_loss_counts() -> None:
    assert lowest_asr(CURVE, 0.03, undefended=0.9) == 0.4
    assert lowest_asr(CURVE, 0.005, undefended=0.9) == 0.9, "the model may stay as it is"
    assert lowest_asr([Setting(1e-3, -0.01, 0.95)], 0.0, undefended=0.9) == 0.9
    before, after = torch.tensor([0.97, 0.95]).tolist()
    assert lowest_asr([Setting(1e-3, before - after, 0.4)], 0.02, undefended=0.9) == 0.4, "shares are float32"


def test_the_curve_is_the_mean_over_models() -> None:
    models = [(0.9, CURVE), (0.7, [Setting(1e-3, 0.02, 0.2)])]
    curve = equal_accuracy_curve(models, [0.0, 0.02, 0.1])
    assert curve[0] == pytest.approx((0.8, 0.7, 0.9))
    assert curve[1] == pytest.approx((0.5, 0.2, 0.8))
    assert curve[2] == pytest.approx((0.15, 0.1, 0.2))
    assert equal_accuracy_curve([], [0.0]) == []
