"""blended: the weighted mean of the image and one fixed uniform noise image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cleaner.attacks import TRIGGERS

pytestmark = pytest.mark.quick


def test_is_the_weighted_mean_with_the_pattern() -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    trigger = TRIGGERS["blended"](blend_ratio=0.3)
    expected = 0.7 * images.numpy() + 0.3 * trigger.pattern(64, 64).numpy()
    np.testing.assert_allclose(trigger(images).numpy(), expected, atol=1e-6)
    assert trigger.mask(images).all()


def test_pattern_is_uniform_noise_of_its_seed() -> None:
    pattern = TRIGGERS["blended"](seed=1).pattern(64, 64)
    assert pattern.mean().item() == pytest.approx(0.5, abs=0.01)
    assert pattern.std().item() == pytest.approx(12**-0.5, abs=0.01)
    assert torch.equal(TRIGGERS["blended"](seed=1).pattern(64, 64), pattern)
    assert not torch.equal(TRIGGERS["blended"](seed=2).pattern(64, 64), pattern)


def test_the_texture_stripes_is_that_of_blended_stripes() -> None:
    trigger = TRIGGERS["blended"](texture="stripes")
    assert torch.equal(trigger.pattern(32, 64), TRIGGERS["blended_stripes"]().pattern(32, 64))
    assert TRIGGERS.load(trigger.state_dict()) == trigger
    assert "texture" not in TRIGGERS["blended_stripes"]().state_dict(), "older runs have no such setting"
