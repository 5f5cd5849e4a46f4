"""The rule that chooses learning rates and the form of TA-Cleaner. It sees validation accuracy and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.protocol2.lines import BUDGETS
from cleaner.evaluation.equal_accuracy import is_within

GRID = (3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 2e-3, 3e-3, 5e-3)
BUDGET, WIDE_BUDGET = BUDGETS
"""Losses of validation accuracy, as shares, at which methods are compared; the first one chooses the rate."""
CURVE_RATES = 5
"""Rates at which a method is measured on test images."""
CURVE_CENTER, CURVE_FLAT = 0.035, 0.01
"""Validation loss that the rates of a curve surround; smaller losses than the second count as equal."""

Losses = Mapping[float, float]
"""Learning rate -> validation accuracy that the backdoored model has above the defended one."""


@dataclass(frozen=True)
class Choice:
    """The rate of one method: the largest within the budget, else (`lost_accuracy`) the most accurate one."""

    lr: float
    loss: float
    lost_accuracy: bool


def next_rate(losses: Losses, grid: Sequence[float] = GRID) -> float | None:
    """Return the rate to try next, from the largest down; None when the choice is made.

    It ends when one rate is within the budget and `CURVE_RATES` were tried: what is below removes less.
    """
    is_decided = len(losses) >= CURVE_RATES and any(is_within(loss, BUDGET) for loss in losses.values())
    untried = [lr for lr in sorted(grid, reverse=True) if lr not in losses]
    return None if is_decided or not untried else untried[0]


def needed_losses(losses: Losses, grid: Sequence[float] = GRID) -> Losses:
    """Return the losses that `next_rate` asked for: the rest of the grid, measured later, changes no curve."""
    needed: dict[float, float] = {}
    while (lr := next_rate(needed, grid)) is not None and lr in losses:
        needed[lr] = losses[lr]
    return needed


def choose_rate(losses: Losses, budget: float = BUDGET) -> Choice:
    """Return the largest rate that loses at most `budget`, else the most accurate one."""
    affordable = [lr for lr, loss in losses.items() if is_within(loss, budget)]
    lr = max(affordable) if affordable else min(losses, key=lambda lr: (losses[lr], -lr))
    return Choice(lr, losses[lr], lost_accuracy=not affordable)


def choose_form(losses_of: Mapping[str, Losses]) -> str:
    """Return the form with the highest rate that the rule allows; ties go to the smaller loss, then to the first."""
    choices = {form: choose_rate(losses) for form, losses in losses_of.items()}
    return max(choices, key=lambda form: (not choices[form].lost_accuracy, *_strength(choices[form])))


def _strength(choice: Choice) -> tuple[float, float]:
    # Without any affordable rate the rule takes the most accurate one: accuracy decides first.
    return (-choice.loss, choice.lr) if choice.lost_accuracy else (choice.lr, -choice.loss)


def curve_rates(losses: Losses) -> list[float]:
    """Return the rates to measure on test images, ascending: those whose loss is nearest to `CURVE_CENTER`.

    Losses below `CURVE_FLAT` are equal, ties go to the larger rate, and the rule's own rate is always one of them.
    """
    ranked = sorted(losses, key=lambda lr: (abs(max(losses[lr], CURVE_FLAT) - CURVE_CENTER), -lr))
    kept, chosen = ranked[:CURVE_RATES], choose_rate(losses).lr
    return sorted(kept if chosen in kept else [*kept[:-1], chosen])
