"""The mask of true positive subtexts, from texts alone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from cleaner.text import Subtext, SubtextPair
from cleaner.training.batch import DrawnPair, false_negatives


def compare_texts(positives: Sequence[str], captions: Sequence[str], style: str = "core") -> Tensor:
    """Return `false_negatives` of pairs with these positive subtexts and captions."""
    texts = enumerate(zip(captions, positives, strict=True))
    pairs = [DrawnPair.create(i, caption, SubtextPair(Subtext(text, "core"), ())) for i, (caption, text) in texts]
    return false_negatives(pairs, style)
