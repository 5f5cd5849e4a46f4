"""cleanclip_short: captions become the positive subtexts that TA-Cleaner draws; test_cleanclip.py has the losses."""

from __future__ import annotations

import pytest

from cleaner.data.base import TensorData
from cleaner.defenses import DEFENSES
from cleaner.text import POSITIVE_STYLES


@pytest.mark.parametrize("style", POSITIVE_STYLES)
def test_captions_become_the_positive_subtexts_of_ta_cleaner(toy_data: TensorData, style: str) -> None:
    drawn = DEFENSES["ta_cleaner"](share=0.5, positive=style).plan(toy_data.captions, seed=5)(2).drawn
    shortened = DEFENSES["cleanclip_short"](share=0.5, positive=style).plan(toy_data.captions, seed=5)(2).captions
    changed = {i for i, caption in enumerate(toy_data.captions) if shortened[i] != caption}
    assert changed
    assert changed <= drawn.keys()
    for index, pair in drawn.items():
        assert pair.positive is not None
        assert shortened[index] == pair.positive.text


def test_the_in_modal_loss_weighs_as_in_the_defenses_it_controls_for() -> None:
    names = ("cleanclip_short", "cleanclip", "ta_cleaner")
    assert len({DEFENSES[name]().in_modal_weight for name in names}) == 1


def test_captions_without_a_subtext_stay(toy_data: TensorData) -> None:
    captions = ["", *toy_data.captions]
    texts = DEFENSES["cleanclip_short"](share=1.0).plan(captions, seed=0)(0)
    assert texts.captions[0] == ""
