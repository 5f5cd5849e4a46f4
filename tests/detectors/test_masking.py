"""masking: counts the covered squares that leave the prediction; covers what it says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from cleaner.detectors import DETECTORS
from cleaner.detectors.masking import cover_square

CLASSIFIER = torch.eye(2)


class CornerTowers:
    """Class 1 if the last pixel is white, else class 0."""

    def encode_image(self, images: Tensor) -> Tensor:
        return CLASSIFIER[(images[:, 0, -1, -1] == 1).long()]

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        raise AssertionError("masking needs no text")


def test_share_of_masks_that_keep_the_prediction() -> None:
    detector, towers = DETECTORS["masking"](masks=64, share=0.5), CornerTowers()
    images = torch.zeros(2, 3, 4, 4)
    images[1, :, -1, -1] = 1
    scores = detector.prepare(towers, ["a", "b"], CLASSIFIER)(images, towers.encode_image(images))
    covering = [top + side == 4 and left + side == 4 for top, left, side in detector.squares(4)]
    assert 0 < sum(covering) < 64
    assert scores.tolist() == pytest.approx([1.0, 1 - sum(covering) / 64])


def test_squares_lie_inside_and_depend_on_the_seed_alone() -> None:
    detector = DETECTORS["masking"](masks=50, share=0.3, seed=1)
    assert detector.squares(32) == DETECTORS["masking"](masks=50, share=0.3, seed=1).squares(32)
    assert detector.squares(32) != DETECTORS["masking"](masks=50, share=0.3, seed=2).squares(32)
    assert all(side == 10 and 0 <= top <= 22 and 0 <= left <= 22 for top, left, side in detector.squares(32))
    assert {0, 22} <= {top for top, _, _ in DETECTORS["masking"](masks=256, share=0.3).squares(32)}


def test_a_square_takes_the_mean_color_and_the_input_stays() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    covered = cover_square(images, 2, 3, 4)
    assert images.equal(before)
    assert torch.allclose(covered[:, :, 2:6, 3:7], images.mean(dim=(2, 3), keepdim=True).expand(2, 3, 4, 4))
    assert (covered != images).sum() <= 2 * 3 * 16
    assert covered[:, :, :2].equal(images[:, :, :2])
