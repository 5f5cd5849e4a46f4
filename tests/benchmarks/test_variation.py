"""How far figures vary by seed and by processor."""

from __future__ import annotations

from typing import Any

from benchmarks.variation import describe_variation, measure_spread


def row(method: str, asr: float, ca: float) -> dict[str, Any]:
    return {"model": "m", "attack": "badnet", "method": method, "asr": asr, "ca": ca}


def test_spreads_are_highest_minus_lowest_in_points() -> None:
    spread = measure_spread([[0.1, 0.3, 0.2], [0.5, 0.5], [0.0, 0.4]])
    assert (round(spread.median), round(spread.largest)) == (20, 40)


def test_seeds_and_processors_are_told_apart() -> None:
    assert describe_variation([], []) == ""
    seeds = [row("a", 0.10, 0.90), row("a", 0.17, 0.88), row("b", 0.9, 0.9), row("", 0.99, 0.9), row("", 1.0, 0.9)]
    text = describe_variation(seeds, [])
    assert "only in the seed, ASR@1 varies by up to 7.0 points (median 7.0 in the 1 setting whose mean" in text
    assert "clean accuracy by up to 2.0 (median 1.0; 2 settings of m: badnet)" in text
    assert "another processor" not in text
    both = describe_variation(seeds, [row("none 1", 0.5, 0.9), row("none 1", 0.53, 0.9)])
    assert "a stand-in for another processor), ASR@1 varies by up to 3.0 points " in both
