"""finetune: CLIP's loss alone, all captions unchanged."""

from __future__ import annotations

import pytest

from cleaner.defenses import DEFENSES
from tests.defenses import naive


def test_losses_equal_naive() -> None:
    f = naive.make_features()
    losses = DEFENSES["finetune"]().losses(f)
    assert {name: value.item() for name, value in losses.items()} == {
        "clip_loss": pytest.approx(naive.clip_loss(f), rel=1e-5)
    }


def test_plan_keeps_the_captions() -> None:
    texts = DEFENSES["finetune"]().plan(["a red cup", "a kite"], seed=0)(3)
    assert (list(texts.captions), texts.drawn) == (["a red cup", "a kite"], {})
