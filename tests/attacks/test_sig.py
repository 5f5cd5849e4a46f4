"""sig: the wave added, and CleanCLIP's blend."""

from __future__ import annotations

import math

import pytest
import torch

from cleaner.attacks import TRIGGERS

GREY = torch.full((2, 3, 64, 64), 0.5)


def test_sig_adds_a_sine_along_the_width() -> None:
    triggered = TRIGGERS["sig"](delta=0.2, frequency=3)(GREY)
    for j in range(64):
        assert triggered[0, 1, 10, j].item() == pytest.approx(0.5 + 0.2 * math.sin(2 * math.pi * 3 * j / 64), abs=1e-6)


def test_sig_blend_is_cleanclips_variant() -> None:
    triggered = TRIGGERS["sig"](delta=0.2, frequency=3, mode="blend")(GREY)
    assert triggered[0, 0, 0, 5].item() == pytest.approx(0.4 + 0.2 * 0.2 * math.sin(2 * math.pi * 3 * 5 / 64), abs=1e-6)
