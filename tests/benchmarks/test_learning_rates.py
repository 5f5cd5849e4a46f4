"""Learning rates are chosen by accuracy alone, within grid and budget."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import RESULTS_DIR
from benchmarks.learning_rates import TRAINING_BUDGET, choose_rates
from cleaner.files import read_json

GRID = (1e-4, 3e-4, 1e-3)


def trial(lr: float, ca: float, asr: float = 0.5) -> dict[str, Any]:
    return {"model": "rn", "defense": "finetune", "lr": lr, "ca": ca, "backdoored_ca": 0.99, "asr": asr}


def test_the_largest_affordable_rate_is_chosen_regardless_of_asr() -> None:
    trials = [trial(1e-3, 0.96, asr=0.0), trial(3e-4, 0.971, asr=0.9), trial(1e-4, 0.98, asr=0.1)]
    assert choose_rates(trials, GRID) == ({"rn": {"finetune": 3e-4}}, [])


def test_the_most_accurate_rate_is_chosen_and_marked_if_none_is_affordable() -> None:
    trials = [trial(1e-3, 0.90), trial(3e-4, 0.95), trial(1e-4, 0.94)]
    assert choose_rates(trials, GRID) == ({"rn": {"finetune": 3e-4}}, [["rn", "finetune"]])
    assert choose_rates(trials[:2], GRID) == ({}, [])  # incomplete: no choice yet


def test_rates_outside_the_grid_are_ignored() -> None:
    trials = [trial(3e-3, 0.98), trial(1e-3, 0.96), trial(3e-4, 0.975)]
    assert choose_rates(trials, GRID)[0] == {"rn": {"finetune": 3e-4}}


def test_a_loss_of_exactly_the_budget_is_affordable_in_float32() -> None:
    before, after = float(np.float32(0.98)), float(np.float32(0.96))
    assert before - after > 0.02
    trials = [{**trial(1e-3, after), "backdoored_ca": before}, trial(3e-4, 0.99)]
    assert choose_rates(trials, GRID)[0] == {"rn": {"finetune": 1e-3}}


def test_the_stored_choice_follows_from_the_stored_trials() -> None:
    stored = read_json(RESULTS_DIR / "learning_rates.json")
    trials = [t for t in stored["trials"] if all(t[key] == value for key, value in TRAINING_BUDGET.items())]
    chosen, lost = choose_rates(trials, stored["grid"])
    assert (chosen, lost) == (stored["chosen"], stored["lost_accuracy"])
