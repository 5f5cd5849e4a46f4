"""badnet: where the patch lies, how large it is, and that the seed draws it."""

from __future__ import annotations

import pytest
import torch

from cleaner.attacks import TRIGGERS
from cleaner.attacks.base import POSITIONS
from cleaner.types import CleanerError

GREY = torch.full((2, 3, 64, 64), 0.5)


@pytest.mark.parametrize(("patch_size", "side", "pixels"), [(16, 224, 16), (16, 64, 5), (28, 64, 8), (2, 32, 1)])
def test_badnet_patch_scales_with_the_picture(patch_size: int, side: int, pixels: int) -> None:
    mask = TRIGGERS["badnet"](patch_size=patch_size).mask(torch.zeros(1, 3, side, side))
    assert mask.sum() == pixels**2


@pytest.mark.parametrize("position", POSITIONS)
def test_badnet_lies_where_it_should(position: str) -> None:
    mask = TRIGGERS["badnet"](position=position).mask(torch.rand(4, 3, 64, 64))
    rows, columns = mask[0, 0].nonzero().T
    if position in ("bottom-right", "bottom-left"):
        assert rows.max() == 63
    if position in ("top-right", "bottom-right"):
        assert columns.max() == 63
    if position == "center":
        assert (rows.min(), columns.max()) == (28, 35)
    if position == "random":
        assert len({tuple(m[0].nonzero()[0].tolist()) for m in mask}) > 1


def test_badnet_seed_is_another_patch() -> None:
    assert not torch.equal(TRIGGERS["badnet"](seed=1)(GREY), TRIGGERS["badnet"](seed=2)(GREY))


@pytest.mark.parametrize("options", [{"patch_size": 1}, {"patch_size": 500}, {"position": "middle"}])
def test_bad_parameters_name_the_range(options: dict[str, object]) -> None:
    with pytest.raises(CleanerError, match=r"between|one of"):
        TRIGGERS["badnet"](**options)


def test_unknown_trigger_lists_the_known() -> None:
    with pytest.raises(CleanerError, match=r"no trigger 'badnets' \(did you mean 'badnet'\?\).*blended"):
        TRIGGERS["badnets"]
