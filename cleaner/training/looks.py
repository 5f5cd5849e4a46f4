"""Looks at validation images during a training, within a share of its time."""

from __future__ import annotations

import time
from collections.abc import Callable

from cleaner.models.clip import Clip

Monitor = Callable[[Clip], dict[str, float]]
TIME_SHARE = 0.05
"""Share of the training time that looks may take."""


class ValidationLooks:
    """Calls the monitor every few steps, or as soon after as the earlier looks took at most `TIME_SHARE` of the time.

    The first look is never postponed, and the last step always has one. They do not change the weights.
    """

    def __init__(self, monitor: Monitor | None, every: int, total: int) -> None:
        self._monitor, self._every, self._total = monitor, every, total
        self._seconds, self._is_due = 0.0, False

    def measure(self, clip: Clip, step: int, elapsed: float) -> dict[str, float]:
        """Return the metrics after `step` (0-based), {} without a look; `elapsed`: seconds of the training so far."""
        if self._monitor is None or not self._every:
            return {}
        is_last = step + 1 == self._total
        self._is_due = self._is_due or (step + 1) % self._every == 0
        if not is_last and (not self._is_due or self._seconds > TIME_SHARE * elapsed):
            return {}
        start = time.perf_counter()
        metrics = self._monitor(clip)
        self._seconds += time.perf_counter() - start
        self._is_due = False
        return metrics
