"""Validation passes: how often, and within a share of the time."""

from __future__ import annotations

import pytest

from cleaner.config import VALIDATION_TIME_SHARE
from cleaner.models.clip import Clip
from cleaner.training import validation
from cleaner.training.validation import ValidationSchedule


def run_validation(
    clip: Clip, patch: pytest.MonkeyPatch, *, seconds: float, every: int = 10, total: int = 100, loading: float = 0.0
) -> list[int]:
    """Return the steps (1-based) with a pass; a step takes a second, a pass `seconds`, the first one `loading` more."""
    now, rest = 0.0, loading
    patch.setattr(validation.time, "perf_counter", lambda: now)

    def monitor(_: Clip) -> dict[str, float]:
        nonlocal now, rest
        now, rest = now + seconds + rest, 0.0
        return {"ca": 0.5}

    measured, found = ValidationSchedule(monitor, every, total), []
    for step in range(total):
        now += 1.0
        if measured.measure(clip, step, now):
            found.append(step + 1)
    return found


def test_fast_passes_come_every_few_steps_and_after_the_last(tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_validation(tiny_clip, monkeypatch, seconds=0.0) == list(range(10, 101, 10))
    assert run_validation(tiny_clip, monkeypatch, seconds=0.0, total=34) == [10, 20, 30, 34]
    assert run_validation(tiny_clip, monkeypatch, seconds=0.0, every=0) == []


def test_what_the_first_pass_loads_postpones_no_later_one(tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_validation(tiny_clip, monkeypatch, seconds=0.1, loading=1.5) == list(range(10, 101, 10))


def test_slow_passes_are_postponed_until_the_earlier_ones_fit_the_share(
    tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run_validation(tiny_clip, monkeypatch, seconds=2.0)
    assert found[0] == 10
    assert found[-1] == 100
    assert 3 <= len(found) < 10
    for i, step in enumerate(found[1:-1], 1):
        assert 2.0 * i <= VALIDATION_TIME_SHARE * (step + 2.0 * i)
    assert run_validation(tiny_clip, monkeypatch, seconds=1000.0) == [10, 100]
