"""Texts of like length encoded together: little padding, and few shapes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK_ROWS = 32
"""Rows of a block. More texts than `MAX_BLOCKS` blocks hold are encoded in larger blocks."""
MAX_BLOCKS = 8
COLUMN_MULTIPLE = 4
"""Columns are multiples of it."""


def token_lengths(tokens: Tensor) -> Tensor:
    """Return (N,) how many columns each row of token ids (N, T) needs: CLIP's end token has the largest id."""
    return tokens.argmax(1) + 1


def sort_into_blocks(tokens: Tensor, context_length: int) -> tuple[Tensor, list[tuple[int, int]], Tensor]:
    """Return token ids (N, T) sorted by length, the (rows, columns) of each block, and (N,) where each text now stands.

    A training sees another number and length of texts at each step, and oneDNN makes and keeps kernels for every shape
    (2 MB and 3 ms for a small linear layer): so sizes are multiples, and the shortest text fills up its block.
    """
    count, needed = len(tokens), token_lengths(tokens)
    size = BLOCK_ROWS * -(-count // (BLOCK_ROWS * MAX_BLOCKS)) if count > BLOCK_ROWS else 8 if count > 8 else 1
    order = needed.argsort(stable=True)
    missing = -count % size
    place = torch.empty(count, dtype=torch.long)
    place[order] = torch.arange(missing, missing + count)
    order = torch.cat([order[:1].expand(missing), order])
    sizes: dict[int, int] = {}
    for rows in order.split(size if count > BLOCK_ROWS else len(order)):
        longest = int(needed[rows[-1]])
        columns = min(longest + -longest % COLUMN_MULTIPLE, context_length)
        sizes[columns] = sizes.get(columns, 0) + len(rows)
    ordered = F.pad(tokens, (0, context_length - tokens.shape[1]))[order, : max(sizes)]
    return ordered, [(rows, columns) for columns, rows in sizes.items()], place
