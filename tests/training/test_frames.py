"""Frames of a film: which steps, at what cost, and that taking them leaves the training as it is."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from cleaner.models.clip import Clip
from cleaner.training import frames, validation
from cleaner.training.frames import FRAME_COUNT, FREE_SECONDS, TIME_SHARE, FrameSchedule, frame_steps
from cleaner.training.validation import TOTAL_SHARE, ValidationSchedule


@pytest.mark.parametrize("total", [1, 2, 14, 15, 16, 17, 36, 100, 250, 1000, 12345])
def test_steps_are_spread_and_denser_at_the_start(total: int) -> None:
    steps = frame_steps(total)
    assert len(steps) == min(FRAME_COUNT, total + 1)
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (0, total)
    gaps = [after - before for before, after in pairwise(steps)]
    assert total < 30 or sum(gaps[:5]) < sum(gaps[-5:]) / 3


class FakeRecorder:
    """Takes frames that cost `seconds` each; the first ones cost three times as much."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.steps, self.now = seconds, [], 0.0

    def take(self, clip: Clip, step: int) -> None:
        self.now += self.seconds * (3 if len(self.steps) < 2 else 1)
        self.steps.append(step)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        raise AssertionError


def run(
    clip: Clip, monkeypatch: pytest.MonkeyPatch, *, frame: float, pass_seconds: float = 0.0, total: int = 250
) -> tuple[list[int], list[int], float]:
    """Return the steps with frames and with passes, and the share of the time that both took; a step takes 0.1 s."""
    recorder = FakeRecorder(frame)
    for module in (frames, validation):
        monkeypatch.setattr(module.time, "perf_counter", lambda: recorder.now)

    def monitor(_: Clip) -> dict[str, float]:
        recorder.now += pass_seconds
        return {"ca": 0.5}

    schedule = FrameSchedule(recorder, total)
    measured = ValidationSchedule(monitor if pass_seconds else None, total // 10, total, schedule)
    schedule.take(clip, 0, 0.0)
    validated = []
    for step in range(total):
        recorder.now += 0.1
        schedule.take(clip, step + 1, recorder.now)
        if measured.measure(clip, step, recorder.now):
            validated.append(step + 1)
    return recorder.steps, validated, 1 - 0.1 * total / recorder.now


def test_cheap_frames_are_all_taken(tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tiny_clip, monkeypatch, frame=0.05)[0] == frame_steps(250)


def test_slow_frames_are_thinned_out(tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, _, share = run(tiny_clip, monkeypatch, frame=1.0, total=1000)
    assert (steps[0], steps[-1]) == (0, 1000)
    assert set(steps) < set(frame_steps(1000))
    assert share < TIME_SHARE + 0.06  # three frames are always taken, two of which are slow here
    steps, _, _ = run(tiny_clip, monkeypatch, frame=FREE_SECONDS / 20, total=20)
    assert len(steps) == FRAME_COUNT  # a short training has its film, too


def test_frames_and_passes_together_keep_to_their_share(tiny_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = run(tiny_clip, monkeypatch, frame=0.0, pass_seconds=0.38)[1]
    steps, validated, share = run(tiny_clip, monkeypatch, frame=0.08, pass_seconds=0.38)
    assert steps == frame_steps(250)
    assert validated[-1] == 250
    assert 2 <= len(validated) < len(alone)
    assert share <= TOTAL_SHARE
