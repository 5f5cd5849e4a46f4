"""Texts ready for the text tower: in blocks of similar length, with little padding, or as trees of shared prefixes."""

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
TREE_TOKENS, TREE_MULTIPLE = 192, 32
"""Most tokens of a tree with several texts, and what the number of tokens is a multiple of."""


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


@dataclass(frozen=True, kw_only=True)
class PrefixTrees:
    """Texts that share a prefix share its tokens: what a causal tower computes for them depends on no later token.

    Attributes:
        tokens: (B, T) token ids of B trees; 0 is padding.
        positions: (B, T) the position of each token in its texts.
        mask: (B, T, T) what to add to attention scores: 0 for a token and those before it in its texts, else -inf.
        ends: (N,) the end token of each text, as an index into the flat `tokens`.
    """

    tokens: Tensor
    positions: Tensor
    mask: Tensor
    ends: Tensor


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


def build_prefix_trees(tokens: Tensor, tree_tokens: int = TREE_TOKENS) -> PrefixTrees:
    """Return the trees of token ids (N, T), N > 0, of at most `tree_tokens` where a text allows it."""
    texts = [ids[:length] for ids, length in zip(tokens.tolist(), token_lengths(tokens).tolist(), strict=True)]
    order = sorted(range(len(texts)), key=texts.__getitem__)
    equal = tokens[order[1:]] == tokens[order[:-1]]
    trees: list[list[tuple[int, int, int]]] = []  # of each token its id, its position, and the index of the one before
    ends = [(0, 0)] * len(texts)
    path: list[int] = []  # indices of the previous text's tokens in its tree
    for i, shared in zip(order, [0, *equal.int().cumprod(1).sum(1).tolist()], strict=True):
        path = path[:shared]
        if not trees or len(trees[-1]) + len(texts[i]) - len(path) > tree_tokens:
            trees.append([])
            path = []
        for position in range(len(path), len(texts[i])):
            trees[-1].append((texts[i][position], position, path[-1] if path else 0))
            path.append(len(trees[-1]) - 1)
        ends[i] = len(trees) - 1, path[-1]
    longest = max(map(len, trees))
    size = longest + -longest % TREE_MULTIPLE
    nodes = torch.tensor([tree + [(0, 0, 0)] * (size - len(tree)) for tree in trees])
    mask = torch.full((len(trees), size, size), -torch.inf)
    for i in range(size):
        mask[:, i] = mask[range(len(trees)), nodes[:, i, 2]]
        mask[:, i, i] = 0
    return PrefixTrees(
        tokens=nodes[..., 0],
        positions=nodes[..., 1],
        mask=mask,
        ends=torch.tensor([tree * size + end for tree, end in ends]),
    )
