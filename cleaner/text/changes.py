"""What an edit of a caption is, and where none may be made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from cleaner.text import forms, rules
from cleaner.text.lexicon import lexicon_cache
from cleaner.text.parse import Parse

T = TypeVar("T")
FINITE_TAGS = ("VBZ", "VBP", "VBD", "VBE", "MD")
_CLAUSE_END_TAGS = (".", ",")


@dataclass(frozen=True, slots=True)
class Change:
    """Tokens [start, end) become `new`; `also` are repairs elsewhere (article, number) as (token, new text).

    `seen` tells whether the vocabulary, if there is one, holds the new word.
    """

    kind: str
    start: int
    end: int
    new: str
    repairs: tuple[tuple[int, str], ...] = ()
    is_in_vocabulary: bool = True


@lexicon_cache(1024)
def mark_unsafe_tokens(parsed: Parse) -> tuple[bool, ...]:
    """Return for each token whether an edit there may leave the caption true: after a negation, or beside "or"."""
    found: list[bool] = []
    clause, negated = 0, False
    for i, token in enumerate(parsed.tokens):
        negated = negated or token.lower == "than"  # "more than a cat": a dog may do as well
        if token.lower in rules.NEGATIONS:
            negated = True
            if i and parsed.tokens[i - 1].tag in (*FINITE_TAGS, "RB"):
                # "A hat is never a toy": the subject stands under the negation too.
                found[clause:] = [True] * (i - clause)
        if token.tag in _CLAUSE_END_TAGS and i + 1 < len(parsed.tokens):
            clause, negated = i + 1, False
        found.append(negated)
    for c, chunk in enumerate(parsed.chunks):
        if chunk.text in ("or", "/", "like"):
            for near in parsed.chunks[c if chunk.text == "like" else max(0, c - 1) : c + 2]:
                found[near.start : near.end] = [True] * (near.end - near.start)
    return tuple(found)


def sample_items(rng: Random, items: Sequence[T], k: int) -> list[T]:
    """Return k different items (all of them if there are fewer); much quicker than `rng.sample`."""
    if len(items) <= k:
        drawn = list(items)
        rng.shuffle(drawn)
        return drawn
    places: dict[int, None] = {}
    while len(places) < k:
        places[int(rng.random() * len(items))] = None
    return [items[i] for i in places]


def repair_article(parsed: Parse, index: int, new: str) -> tuple[tuple[int, str], ...]:
    """Return the repair of "a" or "an" before token `index`, when the word there becomes `new`."""
    if index and parsed.tokens[index - 1].lower in ("a", "an"):
        old, right = parsed.tokens[index - 1].text, forms.choose_article(new)
        if old.lower() != right:
            return ((index - 1, right.capitalize() if old[0].isupper() else right),)
    return ()
