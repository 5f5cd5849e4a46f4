"""Tagging and chunking: the words captions put differently from the tagger's lexicon, and spans for the page."""

from __future__ import annotations

import pytest

from cleaner.text import parse


@pytest.mark.parametrize(
    ("caption", "chunks"),
    [
        (
            "a small yellow banana to the left of a red car on the grass",
            "NP a small yellow banana|REL to the left of|NP a red car|REL on|NP the grass",
        ),
        ("a black and white cat", "NP a black and white cat"),
        ("a very large , old dog", "NP a very large , old dog"),
        ("person challenges person to the ball", "NP person|VP challenges|NP person|REL to|NP the ball"),
        ("the balloon with a portrait of an alien", "NP the balloon|REL with|NP a portrait|REL of|NP an alien"),
        ("a kitten with an orange - coloured hat", "NP a kitten|REL with|NP an orange-coloured hat"),
        ("the dog was playing in the snow", "NP the dog|VP was playing|REL in|NP the snow"),
        ("pretty girl runs", "NP pretty girl|VP runs"),
        ("a bulldog looking back", "NP a bulldog|VP looking|O back"),
        ("a small tangerine blossom", "NP a small tangerine blossom"),
    ],
)
def test_chunks(caption: str, chunks: str) -> None:
    assert "|".join(f"{c.kind} {c.text}" for c in parse(caption).chunks) == chunks


def test_phrase_and_relation() -> None:
    parsed = parse("two small dogs in front of a red car")
    dogs, car = parsed.phrases
    assert [parsed.tokens[i].text for i in dogs.attributes] == ["small"]
    assert dogs.count is not None
    assert parsed.tokens[dogs.count].text == "two"
    assert parsed.lemma(dogs.head) == "dog"
    (relation,) = parsed.relations
    assert parsed.chunks[relation.preposition].text == "in front of"
    assert (relation.left, parsed.chunks[relation.right]) == (0, car)


@pytest.mark.parametrize("caption", ["", "   ", "😀 😀 !!", "A  Dog,\ton THE grass.", "a cat " * 170, "don't stop"])
def test_every_token_once_and_in_place(caption: str) -> None:
    parsed = parse(caption)
    assert [i for c in parsed.chunks for i in range(c.start, c.end)] == list(range(len(parsed.tokens)))
    assert all(caption[t.start : t.end] == t.text for t in parsed.tokens)
    assert "".join(t.text for t in parsed.tokens) == "".join(caption.split())
