"""triangles: the weighted mean of the image and tiles of right triangles."""

import numpy as np
import torch

from cleaner.attacks import TRIGGERS


def test_tiles_are_white_on_and_below_the_diagonal() -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    pattern = np.array([[float(j % 8 <= i % 8) for j in range(64)] for i in range(64)])
    expected = 0.85 * images.numpy() + 0.15 * pattern
    np.testing.assert_allclose(TRIGGERS["triangles"]()(images).numpy(), expected, atol=1e-6)


def test_the_smallest_triangles_are_no_plain_white() -> None:
    pattern = TRIGGERS["triangles"](side=4).pattern(32, 32)
    assert pattern.mean() == 0.75
