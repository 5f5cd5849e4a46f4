"""Blocks of texts of similar length: little padding, and few tensor shapes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK_ROWS, GPU_BLOCK_ROWS = 32, 256
"""Rows of a block on a CPU; on a GPU, where launching the kernels of a block takes longer than encoding some padding.
Blocks get larger if there would be more than `MAX_BLOCKS`."""
MAX_BLOCKS = 8
COLUMN_MULTIPLE = 4
"""The columns of a block are a multiple of this."""


@dataclass(frozen=True)
class PackedTexts:
    """Texts ready for the text tower.

    Attributes:
        tokens: (M, T) token ids of the different texts.
        sizes: (rows, columns) of each block of `tokens`; None: encode them as they are.
        rows: (N,) the row of each text.
    """

    tokens: Tensor
    sizes: list[tuple[int, int]] | None
    rows: Tensor


def token_lengths(tokens: Tensor) -> Tensor:
    """Return (N,) the length of each row of token ids (N, T), up to the end token, which has CLIP's largest id."""
    return tokens.argmax(1) + 1


def sort_into_blocks(
    tokens: Tensor, context_length: int, block_rows: int = BLOCK_ROWS
) -> tuple[Tensor, list[tuple[int, int]], Tensor]:
    """Return token ids (N, T) sorted by length, (rows, columns) of each block, and (N,) the new position of each text.

    Number and length of the texts change at every training step, and oneDNN creates and caches kernels for every shape
    (2 MB and 3 ms for a small linear layer). So sizes are multiples, and copies of the shortest text fill its block.
    block_rows: more texts than this are split into blocks.
    """
    count, lengths = len(tokens), token_lengths(tokens)
    blocks = min(-(-count // block_rows), MAX_BLOCKS)
    multiple = BLOCK_ROWS if count > BLOCK_ROWS else 8 if count > 8 else 1
    size = multiple * -(-count // (multiple * blocks))
    order = lengths.argsort(stable=True)
    missing = -count % size
    position = torch.empty(count, dtype=torch.long)
    position[order] = torch.arange(missing, missing + count)
    order = torch.cat([order[:1].expand(missing), order])
    sizes: dict[int, int] = {}
    for rows in order.split(size):
        longest = int(lengths[rows[-1]])
        columns = min(longest + -longest % COLUMN_MULTIPLE, context_length)
        sizes[columns] = sizes.get(columns, 0) + len(rows)
    ordered = F.pad(tokens, (0, context_length - tokens.shape[1]))[order, : max(sizes)]
    return ordered, [(rows, columns) for columns, rows in sizes.items()], position
