"""How far figures vary by seed and by processor."""

from __future__ import annotations

from benchmarks.variation import measure_spread


def test_spreads_are_highest_minus_lowest_in_points() -> None:
    spread = measure_spread([[0.1, 0.3, 0.2], [0.5, 0.5], [0.0, 0.4]])
    assert (round(spread.median), round(spread.largest)) == (20, 40)
