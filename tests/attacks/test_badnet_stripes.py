"""badnet_stripes: even columns of the patch are white, odd ones black."""

import torch

from cleaner.attacks import TRIGGERS

GRAY = torch.full((1, 3, 64, 64), 0.5)


def test_columns_alternate() -> None:
    triggered = TRIGGERS["badnet_stripes"](position="top-left")(GRAY)[0]
    for j in range(8):
        assert (triggered[:, :8, j] == (1.0 if j % 2 == 0 else 0.0)).all()
    assert (triggered[:, 8:] == 0.5).all()


def test_patch_goes_into_all_four_corners() -> None:
    triggered = TRIGGERS["badnet_stripes"](position="corners")(GRAY)[0]
    patch = triggered[:, :8, :8]
    assert (triggered != 0.5).sum() == 3 * 4 * 64
    for corner in (triggered[:, :8, -8:], triggered[:, -8:, :8], triggered[:, -8:, -8:]):
        assert torch.equal(corner, patch)
