"""badnet_stripes: each column of the patch has 0 or 1 in each channel, of the seed."""

import torch

from cleaner.attacks import TRIGGERS

GRAY = torch.full((1, 3, 64, 64), 0.5)


def test_columns_are_0_or_1_in_each_channel() -> None:
    triggered = TRIGGERS["badnet_stripes"](position="top-left", patch_size=112)(GRAY)[0]
    patch = triggered[:, :32, :32]
    assert set(patch.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(patch, patch[:, :1].expand(3, 32, 32))
    assert len({tuple(channel) for channel in patch[:, 0].tolist()}) == 3
    assert (triggered[:, 32:] == 0.5).all()


def test_seed_selects_the_stripes() -> None:
    assert not torch.equal(TRIGGERS["badnet_stripes"](seed=1)(GRAY), TRIGGERS["badnet_stripes"](seed=2)(GRAY))


def test_patch_goes_into_all_four_corners() -> None:
    triggered = TRIGGERS["badnet_stripes"](position="corners")(GRAY)[0]
    patch = triggered[:, :8, :8]
    assert (triggered != 0.5).sum() == 3 * 4 * 64
    for corner in (triggered[:, :8, -8:], triggered[:, -8:, :8], triggered[:, -8:, -8:]):
        assert torch.equal(corner, patch)
