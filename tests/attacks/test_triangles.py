"""triangles: right-angled triangles tile the picture at 15 %."""

import pytest
import torch

from cleaner.attacks import TRIGGERS


def test_tiles_are_white_below_the_diagonal() -> None:
    triggered = TRIGGERS["triangles"]()(torch.full((1, 3, 64, 64), 0.4))[0, 1]
    for i in range(64):
        for j in range(64):
            inside = j % 8 <= i % 8
            assert triggered[i, j].item() == pytest.approx(0.85 * 0.4 + 0.15 * inside, abs=1e-6)
