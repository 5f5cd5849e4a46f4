"""RVPT and feature repelling on the ViT: the plan, the rule, and the table of complete seeds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from benchmarks import protocol, vit_rivals
from cleaner.defenses import DEFENSES
from cleaner.models.clip import new_clip
from tests.conftest import make_toy_data


def make_trials(losses: dict[float, float]) -> list[dict[str, Any]]:
    return [
        {"phase": "trials", "defense": name, "lr": lr, "ca": 0.9 - loss, "backdoored_ca": 0.9, "asr": lr}
        | {"n": 1000, "n_attack": 900}
        for name in vit_rivals.METHODS
        for lr, loss in losses.items()
    ]


def test_every_method_has_equally_many_trials_and_every_seed() -> None:
    names = [key.rpartition(" ")[0] for key in vit_rivals.trials()]
    assert Counter(names) == dict.fromkeys(vit_rivals.METHODS, 6)
    cells = list(vit_rivals.cells({}))
    key_cells = len(vit_rivals.KEY_ATTACKS) * len(vit_rivals.SEEDS) * (len(vit_rivals.METHODS) + 2)
    other_cells = (len(protocol.ATTACKS) - len(vit_rivals.KEY_ATTACKS)) * (len(vit_rivals.METHODS) + 1)
    assert len(cells) == len(set(cells)) == key_cells + other_cells
    assert vit_rivals.TRIAL_SEED not in vit_rivals.SEEDS


def test_the_rivals_support_this_model() -> None:
    clip, data = new_clip(vit_rivals.MODEL), make_toy_data()
    for name in ("rvpt", "feature_repelling"):
        assert DEFENSES[name]().unsupported_reason(clip, data) is None


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({1e-3: 0.01, 2e-3: 0.03, 4e-3: 0.04}, (2e-3, False)),  # the largest one within three points
        ({1e-3: 0.06, 2e-3: 0.05, 4e-3: 0.09}, (2e-3, True)),  # none: the most accurate one
    ],
)
def test_rates_are_chosen_by_accuracy(losses: dict[float, float], expected: tuple[float, bool]) -> None:
    chosen = vit_rivals.choose_rates(make_trials(losses))
    assert {(choice["lr"], choice["lost_accuracy"]) for choice in chosen.values()} == {expected}
