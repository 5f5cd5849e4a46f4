"""Subtexts over a data set: a model's margins, and statistics of the drawn subtexts that show known failures."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from cleaner.data.base import CaptionData
from cleaner.defenses.base import TextPlan
from cleaner.evaluation.encode import Encoder
from cleaner.losses.info_nce import pad_rows
from cleaner.models.clip import Clip
from cleaner.text import SubtextPair
from cleaner.types import OnStep


@dataclass(frozen=True)
class Margin:
    """Margin of a pair's positive subtext over its best negative one: cos(I, P) - max_k cos(I, N_k)."""

    index: int
    value: float
    positive: str
    negative: str
    """The best negative subtext."""


@dataclass(frozen=True)
class DrawStats:
    """What an epoch draws. Subtexts that repeat are memorized; kinds that are missing are not learned."""

    epoch: int
    drawn: int
    skipped: int
    """Drawn pairs whose caption yields no subtext."""
    new_share: float
    """Share of the subtexts that no earlier epoch drew for the same pair, 0..1."""
    kind_counts: Mapping[str, int]
    """Negative subtexts by kind of edit."""
    seconds: float
    """Seconds to draw and write the subtexts."""


def compute_margins(
    clip: Clip, data: CaptionData, drawn: Mapping[int, SubtextPair], on_step: OnStep | None = None
) -> list[Margin]:
    """Return the margin of each drawn pair (index into `data`) with a positive and at least one negative subtext."""
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
    encoder = Encoder(clip, on_step=on_step)
    image = encoder.encode_rows(data, rows)
    with torch.inference_mode():
        features = encoder.encode_texts(texts)
        positive_scores = (image * features[: len(pairs)]).sum(-1)
        negative, mask = pad_rows(features[len(pairs) :], [len(negatives) for _, negatives in pairs.values()])
        best_scores, best = torch.einsum("nd,nkd->nk", image, negative).masked_fill(~mask, -torch.inf).max(1)
    values = zip(pairs.items(), (positive_scores - best_scores).tolist(), best.tolist(), strict=True)
    return [Margin(i, value, text, negatives[k]) for (i, (text, negatives)), value, k in values]


def compute_draw_stats(plan: TextPlan, epochs: int) -> list[DrawStats]:
    """Return the statistics of the first `epochs` epochs."""
    seen: set[tuple[int, str]] = set()
    stats = []
    for epoch in range(epochs):
        start = time.perf_counter()
        texts = plan(epoch)
        len(texts.drawn)  # makes the subtexts
        seconds = time.perf_counter() - start
        subtexts = {
            (i, text.text)
            for i, pair in texts.drawn.items()
            for text in (*([pair.positive] if pair.positive else []), *pair.negatives)
        }
        kinds = Counter(text.kind for pair in texts.drawn.values() for text in pair.negatives)
        new_share = len(subtexts - seen) / len(subtexts) if subtexts else 0.0
        skipped, by_kind = texts.drawn.skipped, dict(sorted(kinds.items()))
        stats.append(
            DrawStats(
                epoch, len(texts.drawn) + skipped, skipped, new_share=new_share, kind_counts=by_kind, seconds=seconds
            )
        )
        seen |= subtexts
    return stats
