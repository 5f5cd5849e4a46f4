"""The processor as hypothesis needs it."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def represent_small_numbers() -> None:
    """Keep subnormal numbers, which an earlier training in this process may have switched off for speed."""
    torch.set_flush_denormal(False)
