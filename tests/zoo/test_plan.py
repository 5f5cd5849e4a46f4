"""The plan: repeatable, balanced, and the sealed part secret."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import pytest

from cleaner.attacks.base import load_trigger
from cleaner.types import CleanerError
from cleaner.zoo.plan import DEVELOPMENT, FULL_SIZE, SEALED, Specimen, plan_zoo, read_ranges

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


@pytest.mark.parametrize(("models", "secret"), [(0, "secret"), (13, "")])
def test_impossible_plans_are_refused(models: int, secret: str) -> None:
    with pytest.raises(CleanerError):
        plan_zoo(models, 0, secret, CLASSES)
