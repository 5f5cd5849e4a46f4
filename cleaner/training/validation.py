"""Validation passes during a training, within a share of its time."""

import math
import time
from collections.abc import Callable

from cleaner.config import VALIDATION_TIME_SHARE
from cleaner.models.clip import Clip
from cleaner.training.frames import FrameSchedule

Monitor = Callable[[Clip], dict[str, float]]
TOTAL_SHARE = 0.1
"""Share that validation passes and the frames of the film may take together."""
TRIAL_SECONDS = 2.0
"""A first pass up to this long is followed by a second when it is due, which tells what one takes without loading."""


class ValidationSchedule:
    """Calls the monitor every few steps, later if earlier passes took more than `VALIDATION_TIME_SHARE` of the time.

    With a film, passes are rarer, so that both together take at most `TOTAL_SHARE`. Loading, which happens at the first
    pass and frame alone, does not count. The first pass, a second one after a short first, and the pass after the last
    step are always made. No pass changes the weights.
    """

    def __init__(self, monitor: Monitor | None, every: int, total: int, frames: FrameSchedule | None = None) -> None:
        self._monitor, self._every, self._total = monitor, every, total
        self._frames = frames or FrameSchedule(None, total)
        self._fastest, self._count, self._is_due = math.inf, 0, False

    def measure(self, clip: Clip, step: int, elapsed: float) -> dict[str, float]:
        """Return the metrics after `step` (0-based), {} without a pass; `elapsed`: seconds of the training so far."""
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
        if self._count * self._fastest > VALIDATION_TIME_SHARE * elapsed:
            return False
        frame_seconds = self._frames.expected_seconds()
        with_this_and_last = self._fastest * (self._count + 2)
        allowed = TOTAL_SHARE * self._frames.expected_total(step + 1, elapsed)
        return not frame_seconds or with_this_and_last + frame_seconds <= allowed
