"""The features that losses see, and InfoNCE, the only primitive they are built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """Unit features of one batch: N pairs, of which M were drawn for subtexts; width D; float32.

    Attributes:
        image, text: (N, D) pictures and captions.
        image_aug, text_aug: (N, D) augmented views, for the in-modal loss.
        positive: (M, D) positive subtexts of the drawn pairs.
        negative: (M, n, D) negative subtexts.
        selected: (M,) int64, rows of this batch that were drawn.
        negative_mask: (M, n) bool, False = padding; None = all are there.
        false_negative: (M, M) bool, True = the positive subtext j is true of pair i and leaves the softmax of row i
            (the diagonal never does); None masks nothing.
        logit_scale: s, exp already taken.
        reference: pictures and captions of the same batch by the frozen model that the training began with, for
            losses that ask for it.
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
    reference: Features | None = None


def info_nce(a: Tensor, b: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Return CE(s a b^T, arange): row i of `a` should find row i of `b` among all of `b` (arXiv:1807.03748).

    a, b: (N, D) unit rows. Scalar >= 0. No rows give exactly 0.
    """
    if len(a) == 0:
        return a.new_zeros(())
    return F.cross_entropy(logit_scale * a @ b.T, torch.arange(len(a), device=a.device))


def pad_rows(rows: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return rows (sum of counts, D) as (M, n, D), n the largest count, zero-padded, and the mask (M, n) of rows."""
    numbers = torch.tensor(counts, dtype=torch.long)
    most = int(numbers.max()) if len(counts) else 0
    mask = (torch.arange(most)[None, :] < numbers[:, None]).to(rows.device)
    result = rows.new_zeros(len(counts), most, rows.shape[-1])
    result[mask] = rows
    return result, mask
