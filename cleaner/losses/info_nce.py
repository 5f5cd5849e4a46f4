"""The features of a batch, and InfoNCE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """Unit features of one batch, float32: N pairs, M of them drawn for subtexts, width D.

    Attributes:
        image, text: (N, D) images and captions.
        image_aug, text_aug: (N, D) augmented views, for the in-modal loss.
        positive: (M, D) positive subtexts of the drawn pairs.
        negative: (M, n, D) negative subtexts.
        selected: (M,) int64, rows of this batch that were drawn.
        negative_mask: (M, n) bool, False = padding; None: no padding.
        false_negative: (M, M) bool, True = positive subtext j is also true of pair i and is masked in row i (the
            diagonal never is); None masks nothing.
        logit_scale: s, exp already taken.
        logit_bias: b of a model that was trained with SigLIP's sigmoid loss; None for a softmax.
        reference: features of the same batch from the frozen model before training, for losses that need them.
        blocks: (N, W) each, not unit rows: what the blocks of the image tower output for `image`, first block first;
            empty unless the defense needs them.
        labels: (N,) int64 class of each pair, -1 if no single one is true; for losses that need it.
        classes: (C, D) one prompt per class, for defenses with a class prompt.
    """

    image: Tensor
    text: Tensor
    image_aug: Tensor | None = None
    text_aug: Tensor | None = None
    positive: Tensor | None = None
    negative: Tensor | None = None
    selected: Tensor | None = None
    negative_mask: Tensor | None = None
    false_negative: Tensor | None = None
    logit_scale: Tensor | float = 1.0
    logit_bias: Tensor | float | None = None
    reference: Features | None = None
    blocks: tuple[Tensor, ...] = ()
    labels: Tensor | None = None
    classes: Tensor | None = None


def info_nce(a: Tensor, b: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Return CE(s a b^T, arange): match row i of `a` with row i of `b` among all rows of `b` (arXiv:1807.03748).

    a, b: (N, D) unit rows. Scalar >= 0. No rows give exactly 0.
    """
    if len(a) == 0:
        return a.new_zeros(())
    return F.cross_entropy(logit_scale * a @ b.T, torch.arange(len(a), device=a.device))


def pad_rows(rows: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return rows (sum of counts, D) as (M, n, D), n the largest count, zero-padded, and the mask (M, n) of rows."""
    counts_tensor = torch.tensor(counts, dtype=torch.long)
    n = int(counts_tensor.max()) if len(counts) else 0
    mask = torch.arange(n)[None, :] < counts_tensor[:, None]
    padded = rows.new_zeros(len(counts), n, rows.shape[-1])
    # The positions come from the CPU: from a mask on a GPU, torch would wait for all work to count them.
    padded[tuple(index.to(rows.device) for index in mask.nonzero(as_tuple=True))] = rows
    return padded, mask.to(rows.device)
