"""The plan: repeatable, balanced, and the sealed part secret."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import pytest

from cleaner import presets
from cleaner.attacks.base import load_trigger
from cleaner.types import CleanerError
from cleaner.zoo.plan import (
    CUT_SIZE,
    DEVELOPMENT,
    FULL_SIZE,
    REFERENCE,
    SEALED,
    Specimen,
    plan_references,
    plan_zoo,
    read_ranges,
)

CLASSES = ["apple", "banana", "cup", "kite"]


@pytest.fixture(scope="module")
def plan() -> list[Specimen]:
    return plan_zoo(FULL_SIZE, 0, "secret", CLASSES)


def test_a_third_is_clean_a_third_is_public_and_every_attack_comes_equally_often(plan: list[Specimen]) -> None:
    attacks = Counter(specimen.trigger and specimen.trigger["name"] for specimen in plan)
    assert attacks.pop(None) == 32
    assert set(attacks.values()) == {8}
    assert len(attacks) == 8
    assert [s.split for s in plan] == [DEVELOPMENT] * 32 + [SEALED] * 64
    assert len({s.id for s in plan}) == FULL_SIZE
    assert {s.base for s in plan[:12]} == {"scenes-lite"}
    assert Counter(s.base for s in plan[12:24]) == {"scenes-lite": 10, "scenes-vit": 2}


def test_equal_seeds_give_equal_plans_and_another_secret_changes_the_sealed_models_alone(plan: list[Specimen]) -> None:
    assert plan_zoo(FULL_SIZE, 0, "secret", CLASSES) == plan
    other = plan_zoo(FULL_SIZE, 0, "another", CLASSES)
    assert other[:32] == plan[:32]
    assert not {s.id for s in other[32:]} & {s.id for s in plan[32:]}
    assert plan_zoo(12, 0, "", CLASSES) == plan[:12]


def test_settings_of_the_training_do_not_depend_on_the_kind(plan: list[Specimen]) -> None:
    training = read_ranges()["training"] | read_ranges()["model"]["scenes-lite"]
    for specimen in (s for s in plan if s.base == "scenes-lite"):
        values = asdict(specimen)
        for name, drawn in training.items():
            low, high = drawn if isinstance(drawn, list) else (drawn, drawn)
            assert low <= values[name] <= high


def test_every_trigger_can_be_made_and_targets_a_class(plan: list[Specimen]) -> None:
    for specimen in plan:
        assert (specimen.trigger is None) == (specimen.target_class is None)
        if specimen.trigger is not None:
            assert load_trigger(specimen.trigger).state_dict() == specimen.trigger
            assert specimen.target_class in CLASSES


def test_sealed_models_need_a_secret() -> None:
    with pytest.raises(CleanerError, match="passphrase"):
        plan_zoo(CUT_SIZE + 1, 0, "", CLASSES)


def test_references_are_drawn_as_clean_models_are(plan: list[Specimen]) -> None:
    references = plan_references("scenes-lite", 19)
    assert references == plan_references("scenes-lite", 20)[:19]
    assert {(s.split, s.trigger, s.target_class) for s in references} == {(REFERENCE, None, None)}
    assert not {s.seed for s in references} & {s.seed for s in plan}
    drawn = [[s.lr for s in group if s.base == "scenes-lite"] for group in (references, plan)]
    assert all(0.0018 <= lr <= 0.0026 for group in drawn for lr in group)


def test_references_of_another_model_have_rates_near_its_own() -> None:
    usual = presets.PRETRAINED_LR
    rates = {s.lr for s in plan_references("somewhere/model.pt", 8)}
    assert len(rates) > 4
    assert all(0.8 * usual <= lr <= 1.2 * usual for lr in rates)
