"""blended_stripes: 1 px stripes at 3 %."""

import pytest
import torch

from cleaner.attacks import TRIGGERS


def test_is_the_weighted_mean_with_stripes() -> None:
    triggered = TRIGGERS["blended_stripes"]()(torch.full((1, 3, 32, 32), 0.5))[0]
    assert triggered[0, 5, 0].item() == pytest.approx(0.97 * 0.5 + 0.03)
    assert triggered[2, 9, 1].item() == pytest.approx(0.97 * 0.5)
    assert (triggered[:, :, ::2] == triggered[0, 0, 0]).all()
