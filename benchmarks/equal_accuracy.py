"""ASR at equal accuracy, interpolated between neighboring learning rates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from cleaner.evaluation.equal_accuracy import Setting, lowest_asr


def interpolate_asr(
    settings: Iterable[Setting], max_loss: float, *, undefended: float, grid: Sequence[float] = ()
) -> float:
    """Return the lowest ASR at a loss of at most `max_loss`, also between two neighboring rates of `grid`.

    Loss and ASR are linear in log(lr) between neighbors. Rates with an unmeasured one between them are no neighbors;
    without a grid all settings are. Give the settings of one model: one for each rate.
    """
    ordered = sorted(settings, key=lambda setting: setting.lr)
    rates = sorted(grid) or [setting.lr for setting in ordered]
    lowest = lowest_asr(ordered, max_loss, undefended=undefended)
    for low, high in pairwise(ordered):
        first, second = (_index(rates, setting.lr) for setting in (low, high))
        is_crossing = min(low.loss, high.loss) <= max_loss < max(low.loss, high.loss)
        if second - first == 1 and is_crossing:
            share = (max_loss - low.loss) / (high.loss - low.loss)
            lowest = min(lowest, low.asr + share * (high.asr - low.asr))
    return lowest


def _index(rates: Sequence[float], lr: float) -> int:
    """Return the position of a rate in the grid, which may have passed through JSON."""
    return min(range(len(rates)), key=lambda i: abs(math.log(rates[i] / lr)))
