"""blended: the weighted mean with one noise picture."""

from __future__ import annotations

import torch

from cleaner.attacks import TRIGGERS

GREY = torch.full((2, 3, 64, 64), 0.5)


def test_blended_is_the_weighted_mean() -> None:
    trigger = TRIGGERS["blended"](blend_ratio=0.3)
    assert torch.allclose(trigger(GREY), 0.7 * GREY + 0.3 * trigger.pattern(64, 64))
