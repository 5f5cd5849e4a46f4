"""Tagging and chunking: words that captions use differently from textblob's lexicon; spans."""

from __future__ import annotations

import pytest

from cleaner.text import parse
from tests.cases import read_cases

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(("caption", "chunks"), read_cases(__file__, "chunks"))
def test_chunks(caption: str, chunks: str) -> None:
    assert "|".join(f"{c.kind} {c.text}" for c in parse(caption).chunks) == chunks


def test_phrase_and_relation() -> None:
    parsed = parse("two small dogs in front of a red car")
    dogs, _ = parsed.noun_phrases
    assert [parsed.tokens[i].text for i in dogs.attributes] == ["small"]
    assert dogs.count is not None
    assert parsed.tokens[dogs.count].text == "two"
    assert parsed.lemma(dogs.head) == "dog"
    assert [c.text for c in parsed.chunks if c.kind == "REL"] == ["in front of"]


@pytest.mark.parametrize("caption", ["", "   ", "😀 😀 !!", "A  Dog,\ton THE grass.", "a cat " * 170, "don't stop"])
def test_chunks_cover_every_token_once_in_order(caption: str) -> None:
    parsed = parse(caption)
    assert [i for c in parsed.chunks for i in range(c.start, c.end)] == list(range(len(parsed.tokens)))
    assert all(caption[t.start : t.end] == t.text for t in parsed.tokens)
    assert "".join(t.text for t in parsed.tokens) == "".join(caption.split())
