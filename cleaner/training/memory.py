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
OUT_OF_MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")
"""What CUDA and MPS, Linux and Windows say; only CUDA has an exception of its own."""


def encode_in_chunks(encode: Callable[[T], Tensor], items: T, chunk_size: int) -> Tensor:
    """Return encode(items), (N, D), without keeping more than `chunk_size` items' activations; size 0 keeps all.

    The loss sees all N features at once, as in GradCache (arXiv:2101.06983). `encode` must treat each item by itself:
    BatchNorm in training mode does not.
    """
    if chunk_size == 0 or chunk_size >= len(items):
        return encode(items)
    parts = [items[first : first + chunk_size] for first in range(0, len(items), chunk_size)]
    return torch.cat([checkpoint(encode, part, use_reentrant=False) for part in parts])


def halve_on_out_of_memory(attempt: Callable[[int], R], size: int, min_size: int = 1) -> tuple[R, int]:
    """Return attempt(size) and size, or with half the size, and so on, as far as memory ends.

    Raises `CleanerError` if it ends at the least size too.
    """
    while True:
        try:
            return attempt(size), size
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        if size <= min_size:
            raise CleanerError("memory ends however little is done at a time: choose a smaller batch or model.")
        size = max(min_size, size // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error says that there is no memory left."""
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(words in said for words in OUT_OF_MEMORY_MESSAGES)


def has_live_batch_norm(model: nn.Module) -> bool:
    """Return whether a BatchNorm of the model is in training mode."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in model.modules())
