"""Looks at validation images during a training, and frames of its film, within a share of its time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from cleaner.config import LOOK_SHARE
from cleaner.models.clip import Clip
from cleaner.training.frames import FrameSchedule

Monitor = Callable[[Clip], dict[str, float]]
TOTAL_SHARE = 0.1
"""Share that looks and the frames of the film may take together."""
TRIAL_SECONDS = 2.0
"""A first look up to this long is followed by a second when it is due, which tells what one takes without loading."""


class ValidationLooks:
    """Calls the monitor every few steps, or as soon after as the earlier looks took at most `LOOK_SHARE` of the time.

    With a film, looks are rarer, so that both together take at most `TOTAL_SHARE`. Loading, which happens at the first
    look and frame alone, does not count. The first look, a second one after a short first, and the look at the last
    step are always made. Looks do not change the weights.
    """

    def __init__(self, monitor: Monitor | None, every: int, total: int, frames: FrameSchedule | None = None) -> None:
        self._monitor, self._every, self._total = monitor, every, total
        self._frames = frames or FrameSchedule(None, total)
        self._fastest, self._count, self._is_due = math.inf, 0, False

    def measure(self, clip: Clip, step: int, elapsed: float) -> dict[str, float]:
        """Take a frame, if one is due, and return the metrics after `step` (0-based), {} without a look.

        elapsed: seconds of the training so far.
        """
        self._frames.take(clip, step + 1, elapsed)
        if self._monitor is None or not self._every:
            return {}
        is_last = step + 1 == self._total
        self._is_due = self._is_due or (step + 1) % self._every == 0
        if not is_last and not (self._is_due and self._is_affordable(step, elapsed)):
            return {}
        start = time.perf_counter()
        metrics = self._monitor(clip)
        self._fastest = min(self._fastest, time.perf_counter() - start)
        self._count, self._is_due = self._count + 1, False
        return metrics

    def _is_affordable(self, step: int, elapsed: float) -> bool:
        if not self._count or (self._count == 1 and self._fastest < TRIAL_SECONDS):
            return True
        if self._count * self._fastest > LOOK_SHARE * elapsed:
            return False
        frame_seconds = self._frames.expected_seconds()
        with_this_and_last = self._fastest * (self._count + 2)
        allowed = TOTAL_SHARE * self._frames.expected_total(step + 1, elapsed)
        return not frame_seconds or with_this_and_last + frame_seconds <= allowed
