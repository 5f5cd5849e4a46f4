"""A step in less memory: features in chunks that are computed again on the way back; same loss, same gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cleaner.types import CleanerError

T = TypeVar("T", Tensor, Sequence[str])
R = TypeVar("R")
WORDS = ("out of memory", "can't allocate memory", "not enough memory")
"""What CUDA and MPS, Linux and Windows say; only CUDA has an exception of its own."""


def in_chunks(encode: Callable[[T], Tensor], items: T, size: int) -> Tensor:
    """Return encode(items), (N, D), without keeping more than `size` items' activations; size 0 keeps all.

    The loss sees all N features at once, as in GradCache (arXiv:2101.06983). `encode` must treat each item by itself:
    BatchNorm in training mode does not.
    """
    if size == 0 or size >= len(items):
        return encode(items)
    parts = [items[first : first + size] for first in range(0, len(items), size)]
    return torch.cat([checkpoint(encode, part, use_reentrant=False) for part in parts])


def halving(attempt: Callable[[int], R], size: int, least: int = 1) -> tuple[R, int]:
    """Return attempt(size) and size, or with half the size, and so on, as far as memory ends.

    Raises `CleanerError` if it ends at the least size too.
    """
    while True:
        try:
            return attempt(size), size
        except RuntimeError as error:
            if not has_ended(error):
                raise
        if size <= least:
            raise CleanerError("memory ends however little is done at a time: choose a smaller batch or model.")
        size = max(least, size // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def has_ended(error: RuntimeError) -> bool:
    """Return whether an error says that there is no memory left."""
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(words in said for words in WORDS)


def mixes_items(model: nn.Module) -> bool:
    """Return whether a BatchNorm of the model is in training mode."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in model.modules())
