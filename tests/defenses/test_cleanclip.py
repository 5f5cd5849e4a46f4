"""cleanclip: CLIP's loss plus the weighted in-modal loss."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cleaner.defenses import DEFENSES
from cleaner.losses import clip_loss, in_modal_loss
from tests.defenses import features


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("name", ["cleanclip", "cleanclip_short"])
def test_losses_are_named_and_weighted(name: str, weight: float) -> None:
    f = features.make_features()
    losses = DEFENSES[name](in_modal_weight=weight).losses(f)
    assert losses == {"clip_loss": clip_loss(f), "in_modal_loss": weight * in_modal_loss(f)}


def test_augmented_views_are_required() -> None:
    assert DEFENSES["cleanclip"].needs_augmentation
    with pytest.raises(ValueError, match="text_aug"):
        DEFENSES["cleanclip"]().losses(replace(features.make_features(), text_aug=None))
