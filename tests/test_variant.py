"""Variant: keys of result files, labels for readers, and the method that decides the style."""

from __future__ import annotations

import json

import pytest

from cleaner.defenses import DEFENSES
from cleaner.labels import FLAGGED_DEFENSE
from cleaner.plots.styles import find_style
from cleaner.variant import REBOUND, Variant
from tests.cases import read_cases

FULL = Variant("ta_cleaner", {"share": 1.0})


@pytest.mark.parametrize(
    ("config", "name"),
    read_cases(__file__, "variant_keys"),
)
def test_the_key_has_the_changed_parameters(config: str, name: str) -> None:
    assert Variant.from_config(json.loads(config)).key == name


@pytest.mark.parametrize(
    ("variant", "label"),
    [
        (Variant(), "Backdoored"),
        (Variant("cleanclip"), "CleanCLIP"),
        (FULL, "TA-Cleaner, K 100%"),
        (Variant(REBOUND, {"steps": 3}, Variant("ta_cleaner")), "TA-Cleaner, then rebound (3 steps)"),
        (Variant("ta_cleaner", {"share": 1.0}, Variant("finetune")), "Plain finetuning, then TA-Cleaner, K 100%"),
        (
            Variant(REBOUND, {"steps": 3}, Variant("cleanclip", after=Variant("par"))),
            "PAR, then CleanCLIP, then rebound (3 steps)",
        ),
        (
            Variant("ta_cleaner", {"text_to_text": False, "held_out": "verb"}),
            "TA-Cleaner, without text to text, held out verb",
        ),
        (Variant("par", {"clean_captions": "mixed"}), "PAR, mixed captions"),
        (
            Variant(FLAGGED_DEFENSE, {"detector": "clip_score", "flagged": 1800}),
            "Without 1,800 flagged pairs (CLIP score)",
        ),
        (Variant(FLAGGED_DEFENSE, {"detector": "clip_score", "flagged": 1}), "Without 1 flagged pair (CLIP score)"),
        (Variant(FLAGGED_DEFENSE), "Without flagged pairs"),
    ],
)
def test_the_label_is_in_words(variant: Variant, label: str) -> None:
    assert variant.label == label


def test_a_defense_has_the_key_of_its_config() -> None:
    defense = DEFENSES["ta_cleaner"](share=1.0)
    config = {"defense": defense.state_dict(), "variant": FULL.changed}
    assert Variant.of(defense) == FULL == Variant.from_config(config)
    assert len({FULL, Variant.of(defense), Variant("ta_cleaner")}) == 2


def test_all_variants_of_a_defense_look_the_same() -> None:
    rebound = Variant(REBOUND, {"steps": 93}, FULL)
    assert find_style(FULL.first) == find_style(rebound.first) == find_style("ta_cleaner")
    assert find_style(Variant(REBOUND, {"steps": 93}, Variant("no_defense")).first) == find_style("defended")
