"""A change of a caption, and the tokens that no change may touch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import TypeVar

from cleaner.text import forms, rules
from cleaner.text.parse import Parse
from cleaner.text.tags import FINITE_TAGS

T = TypeVar("T")
_CLAUSE_END_TAGS = (".", ",")
_NEGATED_OBJECTS = ("no", "neither", "nothing", "none", "nobody")
_BOUNDS = (("at", "least"), ("at", "most"), ("up", "to"), ("over",))


@dataclass(frozen=True, slots=True)
class Change:
    """Tokens [start, end) become `new`; `repairs` fix article or number elsewhere, as (token, new text).

    `is_in_vocabulary` is False if there is a vocabulary and the new word is not in it.
    """

    kind: str
    start: int
    end: int
    new: str
    repairs: tuple[tuple[int, str], ...] = ()
    is_in_vocabulary: bool = True


@lru_cache(maxsize=16384)
def mark_unsafe_tokens(parsed: Parse) -> tuple[bool, ...]:
    """Return for each token whether a change is no use: in a negation or bound, next to "or", in half a compound."""
    unsafe: list[bool] = []
    clause_start, is_negated = 0, False
    for i, token in enumerate(parsed.tokens):
        # "More than a cat", "instead of a cat": true of a dog as well.
        is_negated = is_negated or token.lower in ("than", "instead")
        if token.lower in rules.NEGATIONS:
            is_negated = True
            if i and parsed.tokens[i - 1].tag in (*FINITE_TAGS, "RB"):
                # "A hat is never a toy": the negation covers the subject too.
                unsafe[clause_start:] = [True] * (i - clause_start)
        if token.tag in _CLAUSE_END_TAGS and i + 1 < len(parsed.tokens):
            clause_start, is_negated = i + 1, False
        unsafe.append(is_negated)
    governors = {chunk.end: chunk for chunk in parsed.chunks if chunk.kind in ("VP", "REL")}
    for i, token in enumerate(parsed.tokens):
        if token.lower in _NEGATED_OBJECTS and (governor := governors.get(i)):
            # "A man wearing no shirt" -> "a man selling no shirt" is still true.
            unsafe[governor.start : governor.end] = [True] * (governor.end - governor.start)
    for i, token in enumerate(parsed.tokens):
        words = tuple(t.lower for t in parsed.tokens[max(0, i - 2) : i])
        bound = next((bound for bound in _BOUNDS if token.tag == "CD" and words[-len(bound) :] == bound), None)
        if bound:
            # "At least two dogs" is true of three, "up to two cats" of none.
            start, end = i - len(bound), next((chunk.end for chunk in parsed.chunks if chunk.count == i), i + 1)
            unsafe[start:end] = [True] * (end - start)
    for i in range(1, len(parsed.tokens)):
        # A changed name is false, but says nothing: "a temple in China" -> "a temple in Pot".
        unsafe[i] |= parsed.is_name(i) and parsed.tokens[i - 1].tag not in (".", ":")
    for c, chunk in enumerate(parsed.chunks):
        if parsed.joins_compound(chunk.start):
            # "A horse - drawn carriage" has no horses to count, and "drawn" says nothing alone.
            before = parsed.chunks[c - 1]
            unsafe[before.start : chunk.start + 2] = [True] * (chunk.start + 2 - before.start)
        if chunk.text in ("or", "/", "like"):
            for neighbor in parsed.chunks[c if chunk.text == "like" else max(0, c - 1) : c + 2]:
                unsafe[neighbor.start : neighbor.end] = [True] * (neighbor.end - neighbor.start)
    return tuple(unsafe)


def sample_items(rng: Random, items: Sequence[T], k: int) -> list[T]:
    """Return k different items in random order, or all if there are fewer; much faster than `rng.sample`."""
    if len(items) <= k:
        shuffled = list(items)
        rng.shuffle(shuffled)
        return shuffled
    indices: dict[int, None] = {}
    while len(indices) < k:
        indices[int(rng.random() * len(items))] = None
    return [items[i] for i in indices]


def repair_article(parsed: Parse, index: int, new: str) -> tuple[tuple[int, str], ...]:
    """Return the repair of "a" or "an" before token `index` when it becomes `new`; () if not needed."""
    if index and parsed.tokens[index - 1].lower in ("a", "an"):
        old, article = parsed.tokens[index - 1].text, forms.choose_article(new)
        if old.lower() != article:
            return ((index - 1, article.capitalize() if old[0].isupper() else article),)
    return ()
