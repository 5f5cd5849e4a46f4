"""Frames of a training's film: the steps after which they are taken, and the time that they may cost."""

import math
import time
from typing import Any, Protocol

from cleaner.models.clip import Clip

FRAME_COUNT = 16
"""Frames of a film: the first before the training, the last after it."""
TIME_SHARE = 0.07
"""Share of the training time that frames may take."""
TRIAL_FRAMES = 3
"""Frames that are always taken, and tell how long one takes."""
FREE_SECONDS = 3.0
"""Seconds that frames may take in any case: a training of a few seconds has all its frames, too."""


class Recorder(Protocol):
    """Keeps frames; `inspection.film_recorder` implements it. Taking one changes neither weights nor random streams."""

    def take(self, clip: Clip, step: int) -> None:
        """Keep a frame of the model after `step` steps."""

    def state(self) -> dict[str, Any]:
        """Return the frames so far, for the checkpoint: tensors and plain values."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the frames of a checkpoint."""


def frame_steps(total: int) -> list[int]:
    """Return the steps of a film of `total` steps, from 0 to `total`, denser at the start; all if they are few."""
    last = min(FRAME_COUNT - 1, total)
    return [max(i, round(total * (i / last) ** 2)) for i in range(last + 1)] if total else [0]


class FrameSchedule:
    """Takes the first and last frame, and of the others as many as `TIME_SHARE` allows."""

    def __init__(self, recorder: Recorder | None, total: int) -> None:
        self._recorder, self._total = recorder, total
        self._steps = [] if recorder is None else frame_steps(total)
        self._seconds, self._fastest, self._count = 0.0, math.inf, 0

    def take(self, clip: Clip, step: int, elapsed: float) -> None:
        """Take a frame after `step` steps, if one is due; `elapsed`: seconds of the training so far."""
        if self._recorder is None or step not in self._steps:
            return
        number = self._steps.index(step)
        if step < self._total and number % self._stride(step, elapsed):
            return
        start = time.perf_counter()
        self._recorder.take(clip, step)
        seconds = time.perf_counter() - start
        self._seconds, self._fastest, self._count = (
            self._seconds + seconds,
            min(self._fastest, seconds),
            self._count + 1,
        )

    def expected_seconds(self) -> float:
        """Return the seconds of all frames, those to come included, without the code that the first ones load."""
        return self._fastest * len(self._steps) if self._count else 0.0

    def expected_total(self, step: int, elapsed: float) -> float:
        """Return the expected seconds of the whole training, its frames included, from those of `step` steps."""
        return (elapsed - self._seconds) * self._total / step + self.expected_seconds()

    def _stride(self, step: int, elapsed: float) -> int:
        """Return n if every n-th frame fits the time, from the fastest so far: the first ones load code."""
        if not step or self._count < TRIAL_FRAMES:
            return 1
        allowed = max(TIME_SHARE * self.expected_total(step, elapsed), FREE_SECONDS)
        return max(1, math.ceil(self._fastest * len(self._steps) / allowed))
