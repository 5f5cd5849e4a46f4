"""5,000 captions of the web (Conceptual Captions): nothing breaks, nearly all yield subtexts, quickly enough."""

from __future__ import annotations

import csv
import os
import time
from collections import Counter
from pathlib import Path

import pytest

from cleaner.text import SubtextPair, Vocabulary, draw_subtexts, eda, parse

FILE = Path(os.environ.get("CLEANER_TEST_DATA", "")) / "cc3m_captions_5k.csv"
pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason="real captions not found: set CLEANER_TEST_DATA to the folder of cc3m_captions_5k.csv"
)


@pytest.fixture(scope="module")
def captions() -> list[str]:
    with FILE.open(encoding="utf-8", newline="") as file:
        return [row["caption"] for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def drawn(captions: list[str]) -> tuple[list[SubtextPair], float]:
    draw_subtexts("a cat on a table", 0, 0, 0)  # imports nltk and textblob
    began = time.process_time()
    pairs = [draw_subtexts(caption, 0, 0, i) for i, caption in enumerate(captions)]
    return pairs, time.process_time() - began


def covered(captions: list[str], pairs: list[SubtextPair]) -> float:
    """Share of captions with a noun that give a positive and two negatives of different kinds."""
    with_noun = [pair for caption, pair in zip(captions, pairs, strict=True) if parse(caption).noun_phrases]
    return sum(p.positive is not None and len({s.kind for s in p.negatives}) > 1 for p in with_noun) / len(with_noun)


def test_coverage(captions: list[str], drawn: tuple[list[SubtextPair], float]) -> None:
    assert covered(captions, drawn[0]) >= 0.95


def test_coverage_with_their_own_words(captions: list[str]) -> None:
    vocabulary = Vocabulary.from_captions(captions[:2000])
    some = captions[:600]
    assert covered(some, [draw_subtexts(c, 1, 0, i, 3, vocabulary) for i, c in enumerate(some)]) >= 0.94


def test_speed(drawn: tuple[list[SubtextPair], float]) -> None:
    """3 s on an idle core are wanted (2 s measured); twice that is allowed on a crowded machine."""
    assert drawn[1] < 6.0


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
