"""Stateless randomness: a draw is a function of a seed, of names and counters, so that resuming needs no replay."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derive_seed(*keys: int | str | bytes) -> int:
    """Return a 63-bit seed that depends on all `keys` and on their order (blake2b).

    >>> derive(0, "epoch", 3) == derive(0, "epoch", 3)
    True
    """
    digest = hashlib.blake2b(digest_size=8)
    for key in keys:
        # A file's name need not be text; who reads it says so, in words.
        data = key if isinstance(key, bytes) else str(key).encode(errors="surrogatepass")
        # The length goes in too, so that ("ab", "c") and ("a", "bc") differ.
        digest.update(len(data).to_bytes(8, "little") + data)
    return int.from_bytes(digest.digest(), "little") >> 1


def numpy_generator(*keys: int | str | bytes) -> np.random.Generator:
    """Return a numpy generator seeded with `derive(*keys)`."""
    return np.random.default_rng(derive_seed(*keys))


def torch_generator(*keys: int | str | bytes) -> torch.Generator:
    """Return a CPU generator seeded with `derive(*keys)`; CPU, so that every device sees the same numbers."""
    return torch.Generator().manual_seed(derive_seed(*keys))
