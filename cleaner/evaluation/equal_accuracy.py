"""Defenses compared at equal accuracy: the lowest ASR that a method reaches while it loses at most x points."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

TOLERANCE = 1e-6
"""Rounding error of a loss, the difference of two float32 shares, by which it may exceed a budget."""


@dataclass(frozen=True)
class Setting:
    """One defended model; a model that gained accuracy has a negative `loss`. All are shares but `lr`."""

    lr: float
    loss: float
    asr: float


def is_within(loss: float, budget: float) -> bool:
    """Return whether a loss is within a budget, but for rounding."""
    return loss <= budget + TOLERANCE


def lowest_asr(settings: Iterable[Setting], max_loss: float, *, undefended: float) -> float:
    """Return the lowest ASR among the settings that lose at most `max_loss`, and of the undefended model."""
    return min([undefended, *(setting.asr for setting in settings if is_within(setting.loss, max_loss))])


def equal_accuracy_curve(
    models: Iterable[tuple[float, Sequence[Setting]]], max_losses: Sequence[float]
) -> list[tuple[float, float, float]]:
    """Return (mean, minimum, maximum) of `lowest_asr` over (undefended ASR, settings), at each loss."""
    listed = list(models)
    rows = [[lowest_asr(tried, x, undefended=before) for before, tried in listed] for x in max_losses]
    return [(fmean(row), min(row), max(row)) for row in rows if row]
