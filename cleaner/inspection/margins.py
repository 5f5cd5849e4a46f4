"""Subtexts over a whole data set: a model's margins, and the signs by which the method is known to fail, as numbers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from cleaner.data.base import CaptionData
from cleaner.defenses.base import TextPlan
from cleaner.evaluation.encode import encode_images, encode_texts
from cleaner.losses.info_nce import pad_rows
from cleaner.models.clip import Clip
from cleaner.text import SubtextPair


@dataclass(frozen=True)
class Margin:
    """How far the true subtext of a pair lies above its best false one: cos(I, P) - max_k cos(I, N_k)."""

    index: int
    value: float
    positive: str
    negative: str
    """The best false one."""


@dataclass(frozen=True)
class DrawStats:
    """What an epoch drew. Subtexts that are never new are learnt by heart; kinds that are missing are not taught."""

    epoch: int
    drawn: int
    skipped: int
    """Of the drawn pairs, those whose caption yields no subtext."""
    new_share: float
    """Share of the subtexts that no earlier epoch had drawn for the same pair, 0..1."""
    kind_counts: Mapping[str, int]
    """False subtexts by kind of edit."""
    seconds: float
    """Time that the drawing and writing took."""


def compute_margins(clip: Clip, data: CaptionData, drawn: Mapping[int, SubtextPair]) -> list[Margin]:
    """Return the margin of each pair of `data` (by index) that has a true and at least one false subtext."""
    pairs = {
        i: (pair.positive.text, [text.text for text in pair.negatives])
        for i, pair in drawn.items()
        if pair.positive is not None and pair.negatives
    }
    if not pairs:
        return []
    rows = torch.tensor(list(pairs))
    texts = [positive for positive, _ in pairs.values()]
    texts += [text for _, negatives in pairs.values() for text in negatives]
    image = encode_images(clip, data, rows)
    with torch.inference_mode():
        features = encode_texts(clip, texts)
        own = (image * features[: len(pairs)]).sum(-1)
        false, mask = pad_rows(features[len(pairs) :], [len(negatives) for _, negatives in pairs.values()])
        best, which = torch.einsum("nd,nkd->nk", image, false).masked_fill(~mask, -torch.inf).max(1)
    values = zip(pairs.items(), (own - best).tolist(), which.tolist(), strict=True)
    return [Margin(i, value, positive, negatives[k]) for (i, (positive, negatives)), value, k in values]


def compute_draw_stats(plan: TextPlan, epochs: int) -> list[DrawStats]:
    """Return what each of the first `epochs` epochs draws."""
    seen: set[tuple[int, str]] = set()
    found = []
    for epoch in range(epochs):
        began = time.perf_counter()
        texts = plan(epoch)
        seconds = time.perf_counter() - began
        made = {
            (i, text.text)
            for i, pair in texts.drawn.items()
            for text in (*([pair.positive] if pair.positive else []), *pair.negatives)
        }
        kinds = Counter(text.kind for pair in texts.drawn.values() for text in pair.negatives)
        new = len(made - seen) / len(made) if made else 0.0
        drawn, by_kind = len(texts.drawn) + texts.skipped, dict(sorted(kinds.items()))
        found.append(DrawStats(epoch, drawn, texts.skipped, new, by_kind, seconds))
        seen |= made
    return found
