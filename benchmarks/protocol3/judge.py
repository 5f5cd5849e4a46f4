"""How the third protocol judges a method: ASR over the whole budget of accuracy, and its mean over log(budget)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import inf
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.equal_accuracy import interpolate_asr
from benchmarks.protocol3.plan import read_plan
from cleaner.evaluation.equal_accuracy import Setting, is_within

Rule = Callable[[Sequence[Setting], float, float], float]
"""(settings of one method on one backdoored model, its own ASR, budget) -> ASR."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One method on one backdoored model.

    Attributes:
        undefended: ASR@1 of the backdoored model.
        settings: one per rate; `loss` is of validation accuracy, infinite where the training diverged.
    """

    method: str
    attack: str
    seed: int
    short_captions: float
    undefended: float
    settings: tuple[Setting, ...]

    def ends_open(self, budget: float) -> bool:
        """Return whether the largest rate is within the budget: a larger one might leave less."""
        return is_within(max(self.settings, key=lambda setting: setting.lr).loss, budget)

    def area(self, rule: Rule) -> float:
        """Return the mean ASR over budgets evenly spaced in log(budget)."""
        return fmean(rule(self.settings, self.undefended, budget) for budget in budgets())


@cache
def budgets() -> tuple[float, ...]:
    """Return the budgets of plan.toml, shares of accuracy, ascending."""
    plan = read_plan()["judge"]["budgets"]
    return tuple(np.geomspace(plan["from"], plan["to"], plan["points"]).tolist())


def defender_asr(settings: Sequence[Setting], undefended: float, budget: float) -> float:
    """Return the ASR at the largest rate within the budget, which a defender can choose without knowing the trigger.

    Between neighboring rates loss and ASR are linear in log(rate). Without an affordable rate: `undefended`.
    """
    ordered = sorted(settings, key=lambda setting: -setting.lr)
    if is_within(ordered[0].loss, budget):
        return ordered[0].asr
    for high, low in pairwise(ordered):
        if is_within(low.loss, budget):
            share = 0.0 if high.loss == inf else max(0.0, (budget - low.loss) / (high.loss - low.loss))
            return low.asr + share * (high.asr - low.asr)
    return undefended


def bound_asr(settings: Sequence[Setting], undefended: float, budget: float) -> float:
    """Return the lowest ASR within the budget: a bound that no defender can choose without the trigger."""
    trained = [setting for setting in settings if setting.loss < inf]
    return interpolate_asr(trained, budget, undefended=undefended, grid=read_plan()["grid"]["rates"])


def read_curves(rows: Iterable[Mapping[str, Any]]) -> list[Curve]:
    """Return the curves of complete groups of rows, those of one arm, attack and seed on one processor."""
    by_group: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        by_group.setdefault((row["phase"], row["trigger"], row["seed"]), []).append(row)
    return [curve for group in by_group.values() for curve in _read_group(group)]


def _read_group(rows: Sequence[Mapping[str, Any]]) -> list[Curve]:
    (suspect,) = [row for row in rows if not row["method"]]
    tried: dict[tuple[float, str], list[Setting]] = {}
    for row in rows:
        if row["method"]:
            diverged = row["metrics"] is None
            loss = inf if diverged else suspect["validation_ca"] - row["validation_ca"]
            asr = 1.0 if diverged else row["metrics"]["asr"]["1"]
            tried.setdefault((row["short_captions"], row["method"]), []).append(Setting(row["lr"], loss, asr))
    return [
        Curve(
            method=method,
            attack=suspect["trigger"],
            seed=suspect["seed"],
            short_captions=share,
            undefended=suspect["metrics"]["asr"]["1"],
            settings=tuple(settings),
        )
        for (share, method), settings in tried.items()
    ]


def paired_gaps(curves: Iterable[Curve], method: str, baseline: str, rule: Rule) -> dict[int, float]:
    """Return seed -> area of the method minus that of the baseline, for seeds that have both."""
    areas = {(curve.method, curve.seed): curve.area(rule) for curve in curves if curve.method in (method, baseline)}
    return {
        seed: area - areas[baseline, seed]
        for (name, seed), area in areas.items()
        if name == method and (baseline, seed) in areas
    }
