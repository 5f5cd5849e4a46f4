"""Subtexts of a caption (arXiv:2409.17601): true short ones and false ones, made from the string and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from cleaner.seed import derive_seed
from cleaner.text.changes import Change
from cleaner.text.lexicon import lexicon_cache
from cleaner.text.negative import draw_changes
from cleaner.text.parse import Parse, parse
from cleaner.text.positive import draw_positive
from cleaner.text.tagger import NOUN_TAGS
from cleaner.text.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Edit:
    """What was changed: kind, character span in the caption, the words there and the words put in their place."""

    kind: str
    span: tuple[int, int]
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Subtext:
    """A text made from a caption. Kind: "core" or "identity" if true; the edit's kind ("object", ...) if false."""

    text: str
    kind: str
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True, slots=True)
class SubtextPair:
    """One draw for training: a true text and up to n false ones. Empty if the caption yields nothing."""

    positive: Subtext | None
    negatives: tuple[Subtext, ...]


def positive_subtexts(caption: str, seed: int = 0) -> list[Subtext]:
    """Return up to three different true subtexts, the first drawn first; [] if the caption has no noun phrase."""
    parsed = parse(caption)
    rng = Random(derive_seed(seed, "positive", caption))
    drawn = [draw_positive(parsed, rng) for _ in range(3)]
    texts = list(dict.fromkeys(text for text in drawn if text is not None))
    return [_make_positive(caption, text) for text in texts if text != caption or len(texts) == 1]


def negative_subtexts(
    caption: str, n: int = 3, seed: int = 0, vocabulary: Vocabulary | Iterable[str] | None = None
) -> list[Subtext]:
    """Return up to n different false subtexts, kinds of edit drawn in turn; [] if none is known to be false.

    `vocabulary`, or the captions to count it from, gives the words to use first.
    """
    parsed = parse(caption)
    words = (
        vocabulary if isinstance(vocabulary, Vocabulary) or vocabulary is None else _count_vocabulary(tuple(vocabulary))
    )
    return [
        _make_negative(parsed, change)
        for change in draw_changes(parsed, n, Random(derive_seed(seed, "negative", caption)), words)
    ]


def draw_subtexts(
    caption: str,
    seed: int,
    epoch: int,
    index: int,
    n: int = 3,
    vocabulary: Vocabulary | None = None,
    held_out: str | None = None,
) -> SubtextPair:
    """Return one positive and n negatives for pair `index` in `epoch`; a function of its arguments alone.

    No negative is of the kind `held_out`.
    """
    parsed = parse(caption)
    rng = Random(derive_seed(seed, epoch, index))
    text = draw_positive(parsed, rng)
    if text is None:
        return SubtextPair(None, ())
    false = tuple(_make_negative(parsed, change) for change in draw_changes(parsed, n, rng, vocabulary, held_out))
    return SubtextPair(_make_positive(caption, text), false)


def content_words(text: str) -> frozenset[str]:
    """Return the base forms of nouns, adjectives, verbs and numbers, to see whether one text holds of another."""
    return _content_words(text)


@lexicon_cache(16384)
def _content_words(text: str) -> frozenset[str]:
    parsed = parse(text)
    kept = []
    for i, token in enumerate(parsed.tokens):
        if (
            token.tag in NOUN_TAGS
            or token.tag in ("CD", "REL", "INREL")
            or (token.tag[:2] in ("JJ", "VB") and token.tag != "VBE")
        ):
            kept.append(parsed.lemma(i))
        elif token.tag == "IN" and token.lower not in (
            "of",
            "on",
            "in",
            "at",
            "with",
            "by",
            "for",
            "from",
            "as",
            "that",
        ):
            kept.append(token.lower)
    return frozenset(kept)


@lexicon_cache(4)
def _count_vocabulary(captions: tuple[str, ...]) -> Vocabulary:
    return Vocabulary.from_captions(captions)


def _make_positive(caption: str, text: str) -> Subtext:
    return Subtext(text, "identity" if text == caption else "core")


def _make_negative(parsed: Parse, change: Change) -> Subtext:
    """Write a changed caption; everything but the change stays as it stood."""
    tokens = parsed.tokens
    start, end = tokens[change.start].start, tokens[change.end - 1].end
    old = parsed.caption[start:end]
    new = change.new.capitalize() if old[:1].isupper() and old[1:].islower() else change.new
    edits = [Edit(change.kind, (start, end), old, new)]
    for index, text in change.repairs:
        token = tokens[index]
        edits.append(Edit("agreement", (token.start, token.end), token.text, text))
    text = parsed.caption
    for edit in sorted(edits, key=lambda e: -e.span[0]):
        text = text[: edit.span[0]] + edit.new + text[edit.span[1] :]
    return Subtext(text, change.kind, tuple(edits))
