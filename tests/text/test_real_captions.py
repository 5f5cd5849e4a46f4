"""Coverage, speed and balance of subtexts on 5,000 web captions (Conceptual Captions)."""

from __future__ import annotations

import csv
import time
from collections import Counter
from pathlib import Path

import pytest

from cleaner.text import SubtextPair, Vocabulary, draw_subtexts, eda, parse, positive_subtexts


@pytest.fixture(scope="module")
def captions(real_data: Path) -> list[str]:
    with (real_data / "cc3m_captions_5k.csv").open(encoding="utf-8", newline="") as file:
        return [row["caption"] for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def drawn(captions: list[str]) -> tuple[list[SubtextPair], float]:
    draw_subtexts("a cat on a table", seed=0, epoch=0, index=0)  # import nltk and textblob
    start = time.process_time()
    pairs = [draw_subtexts(caption, seed=0, epoch=0, index=i) for i, caption in enumerate(captions)]
    return pairs, time.process_time() - start


def compute_coverage(captions: list[str], pairs: list[SubtextPair]) -> float:
    """Return the share of captions with a noun phrase that have a positive and negatives of two kinds."""
    pairs_with_noun = [pair for caption, pair in zip(captions, pairs, strict=True) if parse(caption).noun_phrases]
    return sum(p.positive is not None and len({s.kind for s in p.negatives}) > 1 for p in pairs_with_noun) / len(
        pairs_with_noun
    )


def test_coverage(captions: list[str], drawn: tuple[list[SubtextPair], float]) -> None:
    assert compute_coverage(captions, drawn[0]) >= 0.95


def test_coverage_with_a_vocabulary(captions: list[str]) -> None:
    vocabulary = Vocabulary.from_captions(captions[:2000])
    sample = captions[:600]
    pairs = [draw_subtexts(c, seed=1, epoch=0, index=i, vocabulary=vocabulary) for i, c in enumerate(sample)]
    assert compute_coverage(sample, pairs) >= 0.94


def test_speed(drawn: tuple[list[SubtextPair], float]) -> None:
    """The goal is 3 s on an idle core (2 s measured); the test allows three times as much on a busy machine."""
    assert drawn[1] < 9.0


def test_texts_are_distinct(captions: list[str], drawn: tuple[list[SubtextPair], float]) -> None:
    for caption, pair in zip(captions, drawn[0], strict=True):
        texts = [s.text for s in pair.negatives] + ([pair.positive.text] if pair.positive else [])
        assert len(set(texts)) == len(texts), (caption, texts)
        assert caption not in [s.text for s in pair.negatives]
        assert pair.positive is None or pair.positive.text.strip()


def test_kinds_are_balanced(drawn: tuple[list[SubtextPair], float]) -> None:
    kinds = Counter(s.kind for pair in drawn[0] for s in pair.negatives)
    assert set(kinds) == {"object", "attribute", "count", "relation", "verb"}
    assert max(kinds.values()) < 0.45 * kinds.total()


def test_eda(captions: list[str]) -> None:
    assert sum(eda(caption, i) != caption for i, caption in enumerate(captions[:1000])) > 700


def test_relation_style_keeps_both_nouns(captions: list[str]) -> None:
    """Captions that begin with subject, preposition and object: 97 % measured; "core" keeps 64 %."""
    kept = []
    for caption in captions:
        parsed = parse(caption)
        if [chunk.kind for chunk in parsed.chunks[:3]] == ["NP", "REL", "NP"]:
            nouns = {parsed.tokens[parsed.chunks[k].head].text for k in (0, 2)}
            kept.append(nouns <= set(positive_subtexts(caption, style="relation")[0].text.split()))
    assert len(kept) > 1000
    assert sum(kept) / len(kept) >= 0.85
