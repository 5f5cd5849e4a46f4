"""blended_stripes: the weighted mean of the image and stripes of 1 px."""

import numpy as np
import torch

from cleaner.attacks import TRIGGERS


def test_is_the_weighted_mean_with_stripes() -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    stripes = np.array([1.0 if column % 2 == 0 else 0.0 for column in range(32)])
    expected = 0.97 * images.numpy() + 0.03 * stripes
    np.testing.assert_allclose(TRIGGERS["blended_stripes"]()(images).numpy(), expected, atol=1e-6)
