"""WaNet: the field follows the published formula, and its mean shift per axis is the one stated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from cleaner.attacks import TRIGGERS
from cleaner.attacks.placement import find_trigger_box

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(("grid", "strength", "share"), [(4, 4.0, 0.38), (0, 1.0, 0.49)])
def test_mean_shift(grid: int, strength: float, share: float) -> None:
    field = TRIGGERS["wanet"](grid=grid, strength=strength).sampling_grid(64, 64)
    line = torch.linspace(-1, 1, 64)
    identity = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)
    # Cubic interpolation between few control points is smaller than they are, and the border clamps the field.
    assert ((field - identity) * 64 / 2).abs().mean().item() == pytest.approx(share * strength, rel=0.03)
    assert field.abs().max() <= 1


def test_image_is_sampled_at_the_field() -> None:
    trigger = TRIGGERS["wanet"](seed=3)
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    x, y = ((trigger.sampling_grid(32, 32) + 1) / 2 * 31).numpy().transpose(2, 0, 1)
    expected = np.stack([map_coordinates(channel, [y, x], order=1, mode="nearest") for channel in image[0].numpy()])
    assert np.allclose(trigger(image)[0].numpy(), expected, atol=1e-5)
    assert not torch.equal(trigger(image), TRIGGERS["wanet"](seed=4)(image))


def test_covers_even_the_flat_parts_of_an_image() -> None:
    image = torch.zeros(1, 3, 64, 64)
    image[..., 20:40, 24:40] = torch.rand(3, 20, 16)
    assert find_trigger_box(image, TRIGGERS["wanet"]()) is None
