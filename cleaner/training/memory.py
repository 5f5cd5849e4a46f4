"""Training in less memory: chunks whose activations are recomputed in the backward pass; same loss and gradient."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cleaner.models.devices import empty_gpu_cache
from cleaner.types import CleanerError

T = TypeVar("T", Tensor, Sequence[str])
R = TypeVar("R")
OUT_OF_MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")
"""Error texts of CUDA and MPS, Linux and Windows; only CUDA has an exception type for it."""


def encode_in_chunks(encode: Callable[[T], Tensor], items: T, chunk_size: int) -> Tensor:
    """Return encode(items), (N, D), storing the activations of at most `chunk_size` items; 0 stores all.

    The loss sees all N features at once, as in GradCache (arXiv:2101.06983). `encode` must treat items independently,
    which BatchNorm in train mode does not.
    """
    if chunk_size == 0 or chunk_size >= len(items):
        return encode(items)
    chunks = [items[first : first + chunk_size] for first in range(0, len(items), chunk_size)]
    return torch.cat([checkpoint(encode, chunk, use_reentrant=False) for chunk in chunks])


def halve_on_out_of_memory(attempt: Callable[[int], R], size: int, min_size: int = 1) -> tuple[R, int]:
    """Return (attempt(size), size), halving `size` while memory runs out.

    Raises `CleanerError` if `min_size` does not fit either.
    """
    while True:
        try:
            return attempt(size), size
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        if size <= min_size:
            raise CleanerError("out of memory even in the smallest chunks: choose a smaller batch or model.")
        size = max(min_size, size // 2)
        empty_gpu_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error means that memory ran out."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(words in text for words in OUT_OF_MEMORY_MESSAGES)


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """Return the BatchNorm layers of a model, of any kind."""
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def has_live_batch_norm(model: nn.Module) -> bool:
    """Return whether a BatchNorm layer of the model is in train mode."""
    return any(module.training for module in batch_norms(model))
