"""The patch in a SigLIP model: the choice of the attack, and the table of complete seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks import siglip
from benchmarks.poison_setting import quick_poison


def trial(epochs: int, lr: float, ca: float, asr: float) -> dict[str, Any]:
    return {"phase": "attack_trials", "epochs": epochs, "lr": lr, "ca": ca, "asr": asr}


def test_the_most_accurate_attack_that_works_is_chosen() -> None:
    weak, works, costly = trial(2, 1e-3, 0.95, 0.5), trial(4, 1e-3, 0.94, 0.96), trial(4, 2e-3, 0.93, 0.99)
    assert siglip.choose_attack([weak, costly, works]) == replace(siglip.QUICK, epochs=4, lr=1e-3)
    assert siglip.choose_attack([weak]) == replace(siglip.QUICK, epochs=2, lr=1e-3)


def test_the_app_attacks_the_model_with_the_chosen_setting() -> None:
    rows = siglip.TaskFile(siglip.PATH).rows("attack_trials")
    assert quick_poison(siglip.MODEL) == siglip.choose_attack(rows)
