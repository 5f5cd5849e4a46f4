"""pattern_image: a file blended over the whole picture."""

from pathlib import Path

import torch

from cleaner.attacks import TRIGGERS
from tests.attacks.test_contract import picture_file

GREY = torch.full((2, 3, 64, 64), 0.5)


def test_is_the_weighted_mean_with_the_picture(tmp_path: Path) -> None:
    trigger = TRIGGERS["pattern_image"](path=str(picture_file(tmp_path)), blend_ratio=0.4)
    assert torch.allclose(trigger(GREY), 0.6 * GREY + 0.4 * trigger.picture(64))
    assert trigger(GREY)[0, 0, 30, 2] > 0.65 > 0.35 > trigger(GREY)[0, 1, 30, 2]
    assert trigger(torch.zeros(1, 3, 48, 64)).shape == (1, 3, 48, 64)
    assert trigger.mask(GREY).all()
