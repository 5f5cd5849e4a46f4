"""checker: squares are lighter and darker in turn."""

import pytest
import torch

from cleaner.attacks import TRIGGERS


def test_squares_alternate() -> None:
    triggered = TRIGGERS["checker"]()(torch.full((1, 3, 224, 224), 0.5))[0, 0]
    for row, column, value in ((0, 0, 0.6), (0, 14, 0.4), (14, 0, 0.4), (14, 14, 0.6)):
        assert triggered[row, column].item() == pytest.approx(value)
