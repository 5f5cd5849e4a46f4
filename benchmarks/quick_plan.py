"""The plan of the quick setting: forms and rates that are tried, the rule that chooses, and what is confirmed."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean
from typing import Any

from benchmarks.protocol2.lines import CLAIM_STEPS
from cleaner import presets
from cleaner.config import changed_parameters
from cleaner.defenses import DEFENSES, Defense
from cleaner.evaluation.equal_accuracy import is_within
from cleaner.seed import numpy_generator

TRIAL_SEEDS = (200,)
CONFIRM_SEEDS = tuple(sorted(int(s) for s in numpy_generator("quick setting").choice(9000, 5, replace=False) + 1000))
"""Drawn before any trial; nothing was trained with them before `confirm`."""
TRIALS_EACH = 12
"""Trials of each method and trial seed. A first round, of one epoch, is in the log, with twice as many, for TA-Cleaner
15: in 125 steps only plain finetuning and the control met the budget, and positives that keep the relation cost both
methods accuracy."""
BUDGET = 0.03
"""Validation accuracy that a method may lose against the backdoored model."""


def spread_rates(count: int) -> list[float]:
    """Return learning rates from 3e-4 to 6e-3, evenly spaced in the logarithm."""
    return [float(f"{3e-4 * 20 ** (i / (count - 1)):.2g}") for i in range(count)]


VARIANTS: dict[str, dict[str, Defense]] = {
    "finetune": {"": DEFENSES["finetune"]()},
    "cleanclip": {"": DEFENSES["cleanclip"]()},
    "cleanclip_short": {s: DEFENSES["cleanclip_short"](share=1.0, positive=s) for s in ("core", "relation")},
    "ta_cleaner": {
        f"{formula}, n {n}": DEFENSES["ta_cleaner"](share=1.0, formula=formula, negatives=n)
        for formula, n in (("ours", 3), ("ours", 1), ("reviewed", 1))
    },
}
"""Method -> its forms. A method with fewer forms tries more rates."""
SETTING = {"pairs": presets.QUICK_CLEAN_PAIRS, "epochs": presets.QUICK_DEFEND.epochs}
"""Clean pairs and epochs of the trials that count; the file keeps others as a log."""


def trial_plan() -> Iterator[dict[str, Any]]:
    """Yield method, form and rate of each trial: `TRIALS_EACH` a method."""
    for name, forms in VARIANTS.items():
        for form in forms:
            for lr in spread_rates(TRIALS_EACH // len(forms)):
                yield {"defense": name, "form": form, "lr": lr}


def confirmation_plan(chosen: dict[str, dict[str, Any]]) -> Iterator[tuple[str, Defense | None, float, int]]:
    """Yield name, defense, learning rate and steps (0: those of the quick setting) of each row."""
    yield "none", None, 0.0, 0
    common = chosen["ta_cleaner"]["lr"]
    for name, choice in chosen.items():
        defense = VARIANTS[name][choice["form"]]
        yield name, defense, choice["lr"], 0
        if choice["lr"] != common:
            yield f"{name} at TA-Cleaner's rate", defense, common, 0
    cleanclip = DEFENSES["cleanclip"]()
    yield "cleanclip, full schedule", cleanclip, chosen["cleanclip"]["lr"], CLAIM_STEPS


def complete(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the trials of the models whose whole plan was tried: from a part of it, other rates would be chosen."""
    plan = [{"seed": seed, **key, **SETTING} for seed in TRIAL_SEEDS for key in trial_plan()]
    by_model: dict[str, list[dict[str, Any]]] = {}
    for trial in trials:
        by_model.setdefault(trial["model"], []).append(trial)
    return [
        trial
        for tried in by_model.values()
        if all(any(key.items() <= trial.items() for trial in tried) for key in plan)
        for trial in tried
    ]


def choose(trials: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return model -> method -> chosen form and rate, by the mean validation accuracy over the trial seeds."""
    chosen: dict[str, dict[str, dict[str, Any]]] = {}
    current = [t for t in trials if all(t[name] == value for name, value in SETTING.items())]
    for model, name in sorted({(t["model"], t["defense"]) for t in current}):
        groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
        for trial in current:
            if (trial["model"], trial["defense"]) == (model, name):
                groups.setdefault((trial["form"], trial["lr"]), []).append(trial)
        choice = choose_form_and_rate(groups)
        parameters = changed_parameters(VARIANTS[name][choice["form"]])
        chosen.setdefault(model, {})[name] = {"form": choice["form"], "parameters": parameters, **choice}
    return chosen


def choose_form_and_rate(groups: dict[tuple[str, float], list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the choice among (form, rate) -> trials: the largest rate within the budget, ties by accuracy.

    Without any, it is the most accurate one, marked "lost_accuracy".
    """
    ca = {key: mean(trial["ca"] for trial in group) for key, group in groups.items()}
    loss = {key: mean(trial["backdoored_ca"] - trial["ca"] for trial in group) for key, group in groups.items()}
    affordable = [key for key in groups if is_within(loss[key], BUDGET)]
    best = max(affordable, key=lambda key: (key[1], ca[key])) if affordable else max(groups, key=lambda key: ca[key])
    form, lr = best
    return {
        "form": form,
        "lr": lr,
        "ca": ca[best],
        "loss": loss[best],
        "lost_accuracy": not affordable,
    }
