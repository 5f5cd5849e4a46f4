"""cleanclip: CLIP's loss plus the weighted in-modal loss."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cleaner.defenses import DEFENSES
from tests.defenses import naive


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_losses_equal_naive(weight: float) -> None:
    f = naive.make_features()
    losses = DEFENSES["cleanclip"](in_modal_weight=weight).losses(f)
    assert {name: value.item() for name, value in losses.items()} == {
        "clip_loss": pytest.approx(naive.clip_loss(f), rel=1e-5),
        "in_modal_loss": pytest.approx(weight * naive.in_modal_loss(f), rel=1e-5),
    }


def test_augmented_views_are_required() -> None:
    assert DEFENSES["cleanclip"].needs_augmentation
    with pytest.raises(ValueError, match="text_aug"):
        DEFENSES["cleanclip"]().losses(replace(naive.make_features(), text_aug=None))
