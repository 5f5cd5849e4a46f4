"""Placement: a patch is moved and blended; a trigger on the whole image is only blended."""

import torch

from cleaner.attacks import TRIGGERS
from cleaner.attacks.placement import find_trigger_box, place_trigger


def test_trigger_is_moved_and_blended() -> None:
    patch = TRIGGERS["badnet"]()
    image = torch.full((1, 3, 64, 64), 0.5)
    assert find_trigger_box(image, patch) == (56, 56, 8, 8)
    moved = place_trigger(image, patch, 3, 5)
    assert torch.equal(moved[..., 5:13, 3:11], patch(image)[..., 56:, 56:])
    assert (moved != image).any(dim=1).sum() <= 64
    half = place_trigger(image, patch, 3, 5, 0.5)
    assert torch.allclose(half, (moved + image) / 2)
    assert torch.equal(place_trigger(image, patch, 500, 500), patch(image))
    assert torch.equal(image, torch.full_like(image, 0.5))
    noise = TRIGGERS["blended"]()
    assert find_trigger_box(image, noise) is None
    assert torch.allclose(place_trigger(image, noise, 9, 9), noise(image))
    assert torch.equal(place_trigger(image, noise, 9, 9, 0.0), image)
