"""sig: the wave is added, or blended in as in CleanCLIP's code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cleaner.attacks import TRIGGERS
from cleaner.types import CleanerError

pytestmark = pytest.mark.quick

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
WAVE = 0.2 * np.sin(2 * np.pi * 3 * np.arange(64) / 64)


@pytest.mark.parametrize(("mode", "image_weight", "wave_weight"), [("add", 1.0, 1.0), ("blend", 0.8, 0.2)])
def test_is_the_clipped_sum_of_image_and_wave(mode: str, image_weight: float, wave_weight: float) -> None:
    trigger = TRIGGERS["sig"](delta=0.2, frequency=3, mode=mode)
    expected = (image_weight * IMAGES.numpy() + wave_weight * WAVE).clip(0, 1)
    np.testing.assert_allclose(trigger(IMAGES).numpy(), expected, atol=1e-6)
    assert trigger.mask(IMAGES).all()


@pytest.mark.parametrize("frequency", [32, 48, 64])
def test_more_waves_than_pixels_can_show_are_refused(frequency: int) -> None:
    with pytest.raises(CleanerError, match="below 32"):
        TRIGGERS["sig"](frequency=frequency)(IMAGES)
