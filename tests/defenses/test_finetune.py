"""finetune: CLIP's loss alone, all captions unchanged."""

from __future__ import annotations

import pytest

from cleaner.defenses import DEFENSES
from cleaner.losses import clip_loss
from tests.defenses import features


@pytest.mark.parametrize("name", ["finetune", "unlearn_trigger"])
def test_the_loss_is_that_of_clip(name: str) -> None:
    f = features.make_features()
    assert DEFENSES[name]().losses(f) == {"clip_loss": clip_loss(f)}


def test_plan_keeps_the_captions() -> None:
    texts = DEFENSES["finetune"]().plan(["a red cup", "a kite"], seed=0)(3)
    assert (list(texts.captions), texts.drawn) == (["a red cup", "a kite"], {})
