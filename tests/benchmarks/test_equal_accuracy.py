"""benchmarks.equal_accuracy: the lowest ASR between neighboring rates."""

from __future__ import annotations

import pytest

from benchmarks.equal_accuracy import interpolate_asr
from cleaner.evaluation.equal_accuracy import Setting
from tests.evaluation.test_equal_accuracy import CURVE


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
