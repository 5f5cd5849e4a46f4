"""protocol.json: the second protocol in words and numbers, written and committed before any test figure."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import RESULTS_DIR, protocol
from benchmarks.protocol2 import plan, rule
from cleaner.files import read_json
from cleaner.types import CleanerError

PATH = RESULTS_DIR / "protocol.json"


def build_protocol() -> dict[str, Any]:
    """Return what protocol.json states, JSON-ready, without its origin."""
    return {
        "version": 2,
        "reason": plan.REASON,
        "models": {name: asdict(own) for name, own in plan.MODELS.items()},
        "parts": plan.PARTS,
        "grid": rule.GRID,
        **describe_choices(),
        "forms": plan.FORMS,
        "rivals": plan.RIVALS,
        "key_methods": plan.KEY_METHODS,
        "defender_data": list(plan.DEFENDER_DATA),
        "schedule": {**asdict(plan.defense_config(1e-4, 0)), "lr": "of the grid", "seed": "of the cell"},
        "steps": {
            "main": plan.STEPS,
            "long": f"{plan.LONG_STEPS}: badnet and badclip with the same methods and rates, few_seeds",
        },
        "rebound": {"steps": plan.REBOUND_STEPS, "lr": plan.REBOUND_LR},
        "targets": describe_targets(),
        "attack_settings": {attack: [asdict(step) for step in plan.ladder(attack)] for attack in protocol.ATTACKS},
        "fine": {"data": "scenes-fine", "target": plan.FINE_TARGET, "ks": plan.FINE_KS},
        "seeds": "Of poisoning, trigger and defense alike.",
        "processor": (
            "Every line records processor, flags, threads and torch. All cells of one model, attack, target and seed "
            "come from one processor; on another one they are measured again, the backdoored model included."
        ),
        "precision": plan.PRECISION,
    }


def describe_choices() -> dict[str, str]:
    """Return how rates and the form are chosen, and what is compared."""
    budgets = [f"{100 * budget:g}" for budget in (rule.BUDGET, rule.WIDE_BUDGET)]
    return {
        "rule": (
            f"Once per method and model, on the badnet model of seed {plan.GRID_SEED}: the largest rate whose "
            f"validation accuracy after {plan.STEPS} steps is at most {budgets[0]} points below the backdoored "
            "model's; if there is none, the most accurate one, marked. Rates are tried from the largest down until one "
            f"is affordable and {rule.CURVE_RATES} were tried; the part rest measures the others. ASR is not measured."
        ),
        "choice_of_form": (
            f"Form of {plan.FULL_METHOD}: the one with the highest rate that the rule allows, ties by validation "
            "accuracy, never by ASR. It goes into the smaller K too, its style of positive subtexts also into the "
            "control. The other formula with the same style is a row of its own."
        ),
        "primary": (
            f"ASR@1 at equal accuracy: the lowest at a validation loss of at most {budgets[0]} and of at most "
            f"{budgets[1]} points, interpolated between neighboring rates of the grid (linear in the logarithm of the "
            "rate), per seed; the backdoored model itself is a choice that loses nothing. Gaps are paired by seed; "
            "each seed is shown, with the mean and its 95% interval over seeds."
        ),
        "curve_rates": (
            f"{rule.CURVE_RATES} rates per method for badnet and badclip: those whose validation loss in the grid is "
            f"nearest to {100 * rule.CURVE_CENTER:g} points (losses below {100 * rule.CURVE_FLAT:g} count as equal, "
            "ties to the larger rate), the rule's own always among them."
        ),
    }


def describe_targets() -> dict[str, Any]:
    """Return the lottery of the targets and the rule of their replacement."""
    return {
        "count": plan.TARGETS,
        "order": plan.draw_targets(),
        "use": "The first is the target of all cells; badclip with the first seed also gets the two others.",
        "replacement": (
            f"Judged on seed {plan.TRIAL_SEED} and validation images, before any defense: a target on which an attack "
            f"stays below ASR@1 {plan.MIN_ASR} or whose floor exceeds {plan.MAX_FLOOR} is replaced by the next of the "
            f"order. {' and '.join(plan.JUDGES)} judge every target, the other attacks the first one; an attack that "
            "no setting makes take judges none."
        ),
    }


def read_protocol(path: Path = PATH) -> dict[str, Any]:
    """Return protocol.json. Raises `CleanerError` if it is missing or differs from what the code would measure."""
    stored = read_json(path)
    if not stored:
        raise CleanerError(f"{path} is missing: restore the one that is committed.")
    current = json.loads(json.dumps(build_protocol()))
    changed = [key for key in current if stored.get(key) != current[key]]
    if changed:
        raise CleanerError(
            f"{path.name} and the code differ in {', '.join(changed)}: restore the code that it describes."
        )
    return stored
