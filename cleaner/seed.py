"""Stateless randomness: a draw is a function of seed, names and counters, so resuming replays nothing."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(*keys: int | str | bytes) -> int:
    """Return a 63-bit seed that depends on all `keys` and on their order (blake2b).

    >>> derive_seed(0, "epoch", 3) == derive_seed(0, "epoch", 3)
    True
    """
    digest = hashlib.blake2b(digest_size=8)
    for key in keys:
        # File names may not be valid text.
        data = key if isinstance(key, bytes) else str(key).encode(errors="surrogatepass")
        # The length makes ("ab", "c") and ("a", "bc") differ.
        digest.update(len(data).to_bytes(8, "little") + data)
    return int.from_bytes(digest.digest(), "little") >> 1


def numpy_generator(*keys: int | str | bytes) -> np.random.Generator:
    """Return a numpy generator seeded with `derive_seed(*keys)`."""
    return np.random.default_rng(derive_seed(*keys))


def torch_generator(*keys: int | str | bytes) -> torch.Generator:
    """Return a CPU generator seeded with `derive_seed(*keys)`; CPU, so that every device sees the same numbers."""
    import torch  # here, so that processes that render images start without it

    return torch.Generator().manual_seed(derive_seed(*keys))
