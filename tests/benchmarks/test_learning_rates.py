"""The choice of learning rates: by accuracy alone, within the grid and the budget."""

from __future__ import annotations

from typing import Any

from benchmarks.learning_rates import choose_rates

GRID = (1e-4, 3e-4, 1e-3)


def trial(lr: float, ca: float, asr: float = 0.5) -> dict[str, Any]:
    return {"model": "rn", "defense": "finetune", "lr": lr, "ca": ca, "backdoored_ca": 0.99, "asr": asr}


def test_the_largest_rate_within_the_budget_is_chosen_whatever_it_removes() -> None:
    trials = [trial(1e-3, 0.96, asr=0.0), trial(3e-4, 0.971, asr=0.9), trial(1e-4, 0.98, asr=0.1)]
    assert choose_rates(trials, GRID) == ({"rn": {"finetune": 3e-4}}, [])


def test_the_best_rate_is_marked_where_none_keeps_the_budget() -> None:
    trials = [trial(1e-3, 0.90), trial(3e-4, 0.95), trial(1e-4, 0.94)]
    assert choose_rates(trials, GRID) == ({"rn": {"finetune": 3e-4}}, [["rn", "finetune"]])
    assert choose_rates(trials[:2], GRID) == ({}, [])  # not before all were tried


def test_a_rate_outside_the_grid_chooses_nothing() -> None:
    trials = [trial(3e-3, 0.98), trial(1e-3, 0.96), trial(3e-4, 0.975)]
    assert choose_rates(trials, GRID)[0] == {"rn": {"finetune": 3e-4}}
