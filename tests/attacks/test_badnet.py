"""badnet: position, size and seed of the patch."""

from __future__ import annotations

import pytest
import torch

from cleaner.attacks import TRIGGERS
from cleaner.types import CleanerError

pytestmark = pytest.mark.quick

GRAY = torch.full((2, 3, 64, 64), 0.5)
TOP_LEFT_CORNERS = {
    "bottom-right": [(56, 56)],
    "bottom-left": [(56, 0)],
    "top-right": [(0, 56)],
    "top-left": [(0, 0)],
    "corners": [(0, 0), (0, 56), (56, 0), (56, 56)],
    "center": [(28, 28)],
}
"""Position -> (top, left) of the patch of 8 px on an image of 64 px."""


@pytest.mark.parametrize(("patch_size", "side", "pixels"), [(16, 224, 16), (16, 64, 5), (28, 64, 8), (2, 32, 1)])
def test_patch_scales_with_the_image(patch_size: int, side: int, pixels: int) -> None:
    mask = TRIGGERS["badnet"](patch_size=patch_size).mask(torch.zeros(1, 3, side, side))
    assert mask.sum() == pixels**2


@pytest.mark.parametrize(("position", "corners"), TOP_LEFT_CORNERS.items())
def test_patch_is_pasted_at_its_position(position: str, corners: list[tuple[int, int]]) -> None:
    trigger = TRIGGERS["badnet"](position=position, patch_size=28)
    expected = GRAY.clone()
    mask = torch.zeros(2, 1, 64, 64)
    for top, left in corners:
        expected[:, :, top : top + 8, left : left + 8] = trigger.patch(64)
        mask[:, :, top : top + 8, left : left + 8] = 1
    assert torch.equal(trigger(GRAY), expected)
    assert torch.equal(trigger.mask(GRAY), mask)


def find_random_places(patch_size: int, seed: int = 0) -> list[tuple[int, int]]:
    """Return (top, left) of the patch on each of 60 images of 32 px, each the whole patch."""
    images = torch.rand(60, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    trigger = TRIGGERS["badnet"](position="random", patch_size=patch_size, seed=seed)
    masks = trigger.mask(images)[:, 0]
    assert (masks.sum(dim=(1, 2)) == trigger.scaled_patch_size(32) ** 2).all()
    return [(top, left) for top, left in (mask.nonzero()[0].tolist() for mask in masks)]


def test_random_position_follows_the_image_and_the_seed() -> None:
    places = find_random_places(28)
    assert sum(top != left for top, left in places) > 30, "row and column are drawn apart"
    assert find_random_places(28, seed=1) != places


def test_random_position_does_not_depend_on_the_batch() -> None:
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    trigger = TRIGGERS["badnet"](position="random")
    assert torch.equal(trigger(images), torch.cat([trigger(image[None]) for image in images]))


def test_random_position_reaches_every_row_and_column() -> None:
    places = find_random_places(203)  # 29 px: 4 places along each axis
    assert {top for top, _ in places} == {left for _, left in places} == {0, 1, 2, 3}


def test_seed_selects_the_patch() -> None:
    assert not torch.equal(TRIGGERS["badnet"](seed=1)(GRAY), TRIGGERS["badnet"](seed=2)(GRAY))


@pytest.mark.parametrize("name", ["patch_size", "position", "texture"])
def test_invalid_parameter_is_refused_by_name(name: str) -> None:
    for value in {"patch_size": (1, 500), "position": ("middle",), "texture": ("dots",)}[name]:
        with pytest.raises(CleanerError, match=name):
            TRIGGERS["badnet"](**{name: value})


def test_the_texture_stripes_is_that_of_badnet_stripes() -> None:
    trigger = TRIGGERS["badnet"](texture="stripes")
    assert torch.equal(trigger(GRAY), TRIGGERS["badnet_stripes"]()(GRAY))
    assert TRIGGERS.load(trigger.state_dict()) == trigger
    assert "texture" not in TRIGGERS["badnet_stripes"]().state_dict(), "older runs have no such setting"
