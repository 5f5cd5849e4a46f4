"""badnet_stripes: white and black columns in turn, at each place, in all four corners at once if asked."""

import torch

from cleaner.attacks import TRIGGERS

GREY = torch.full((1, 3, 64, 64), 0.5)


def test_columns_alternate() -> None:
    triggered = TRIGGERS["badnet_stripes"](position="top-left")(GREY)[0]
    for j in range(8):
        assert (triggered[:, :8, j] == (1.0 if j % 2 == 0 else 0.0)).all()
    assert (triggered[:, 8:] == 0.5).all()


def test_four_corners_at_once() -> None:
    mask = TRIGGERS["badnet_stripes"](position="corners").mask(GREY)[0, 0]
    assert mask.sum() == 4 * 64
    for corner in (mask[:8, :8], mask[:8, -8:], mask[-8:, :8], mask[-8:, -8:]):
        assert corner.all()
