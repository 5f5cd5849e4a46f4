"""The quick setting on mixed captions: the plan, the rule, and the table next to full captions."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks import quick_captions, quick_plan

METHODS = ("cleanclip", "finetune")


def make_trial(name: str, lr: float, ca: float) -> dict[str, Any]:
    return {"phase": "trials", "defense": name, "form": "", "lr": lr, "ca": ca, "backdoored_ca": 0.97, "asr": lr}


TRIALS = [make_trial(name, lr, ca) for name in METHODS for lr, ca in ((1e-3, 0.96), (2e-3, 0.95), (4e-3, 0.90))]


def test_every_method_has_equally_many_trials_and_all_seeds() -> None:
    names = [key.rpartition(" ")[0] for key in quick_captions.trials()]
    assert Counter(names) == dict.fromkeys([*quick_plan.VARIANTS, "par"], quick_plan.TRIALS_EACH)
    cells = list(quick_captions.cells({name: {} for name in METHODS}))
    assert len(cells) == len(set(cells)) == 2 * len(quick_plan.CONFIRM_SEEDS) * 3
    assert cells[0] == f"badnet {quick_plan.CONFIRM_SEEDS[0]} none"


def test_the_rule_is_that_of_the_quick_setting() -> None:
    assert {name: choice["lr"] for name, choice in quick_captions.choose_rates(TRIALS).items()} == dict.fromkeys(
        METHODS, 2e-3
    )
