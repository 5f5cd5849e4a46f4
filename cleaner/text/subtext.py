"""Subtexts of a caption (arXiv:2409.17601): short true ones and false ones, from the caption alone."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from cleaner.seed import derive_seed
from cleaner.text.changes import Change
from cleaner.text.negative import draw_changes
from cleaner.text.parse import Parse, parse
from cleaner.text.positive import draw_positive
from cleaner.text.relational import draw_relation_positive
from cleaner.text.rules import NEGATIONS
from cleaner.text.tags import NOUN_TAGS
from cleaner.text.vocabulary import Vocabulary
from cleaner.types import CleanerError

_POSITIVE_STYLES = {"core": draw_positive, "relation": draw_relation_positive}
POSITIVE_STYLES = tuple(_POSITIVE_STYLES)
"""Styles of positive subtexts."""
# Prepositions too common to tell one text from another.
_WEAK_PREPOSITIONS = ("of", "on", "in", "at", "with", "by", "for", "from", "as", "that")


@dataclass(frozen=True, slots=True)
class Edit:
    """One change: its kind, character span in the caption, the words there and their replacement."""

    kind: str
    span: tuple[int, int]
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Subtext:
    """A text made from a caption; `kind`: "core" or "identity" if true, the edit's kind if false."""

    text: str
    kind: str
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True, slots=True)
class SubtextPair:
    """One draw for training: a true text and up to n false ones; empty if the caption has no noun phrase."""

    positive: Subtext | None
    negatives: tuple[Subtext, ...]


def positive_subtexts(caption: str, seed: int = 0, style: str = "core") -> list[Subtext]:
    """Return up to three different true subtexts in drawing order; [] if the caption has no noun phrase.

    `style` "relation" keeps subject, relation and object where the caption has them; "core" may keep one noun alone.
    """
    draw = _find_style(style)
    parsed = parse(caption)
    rng = Random(derive_seed(seed, "positive", caption))
    drawn = [draw(parsed, rng) for _ in range(3)]
    texts = list(dict.fromkeys(text for text in drawn if text is not None))
    return [_make_positive(caption, text) for text in texts if text != caption or len(texts) == 1]


def negative_subtexts(
    caption: str, n: int = 3, seed: int = 0, vocabulary: Vocabulary | Iterable[str] | None = None
) -> list[Subtext]:
    """Return up to n different false subtexts, cycling through the kinds of edit.

    [] if no edit makes the caption certainly false.

    Words of `vocabulary`, or of captions given as such, are preferred.
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
    *,
    seed: int,
    epoch: int,
    index: int,
    n: int = 3,
    vocabulary: Vocabulary | None = None,
    style: str = "core",
) -> SubtextPair:
    """Return one positive and n negatives for pair `index` in `epoch`, a function of the arguments alone.

    `style` is that of `positive_subtexts`.
    """
    draw = _find_style(style)
    parsed = parse(caption)
    rng = Random(derive_seed(seed, epoch, index))
    text = draw(parsed, rng)
    if text is None:
        return SubtextPair(None, ())
    changes = draw_changes(parsed, n, rng, vocabulary)
    return SubtextPair(_make_positive(caption, text), tuple(_make_negative(parsed, change) for change in changes))


@lru_cache(maxsize=16384)
def content_words(text: str) -> frozenset[str]:
    """Return the base forms of nouns, adjectives, verbs, numbers, negations and specific prepositions.

    A text whose words are a subset of another's is likely true of its image.
    """
    parsed = parse(text)
    words = []
    for i, token in enumerate(parsed.tokens):
        is_content = token.tag in (*NOUN_TAGS, "CD", "REL", "INREL") or token.tag[:2] in ("JJ", "VB")
        if is_content and token.tag != "VBE":
            words.append(parsed.lemma(i))
        elif token.lower in NEGATIONS or (token.tag == "IN" and token.lower not in _WEAK_PREPOSITIONS):
            words.append(token.lower)
    return frozenset(words)


def _find_style(style: str) -> Callable[[Parse, Random], str | None]:
    if style not in _POSITIVE_STYLES:
        raise CleanerError(f"Unknown style of positive subtexts {style!r}: choose one of {', '.join(POSITIVE_STYLES)}.")
    return _POSITIVE_STYLES[style]


_count_vocabulary = lru_cache(maxsize=4)(Vocabulary.from_captions)


def _make_positive(caption: str, text: str) -> Subtext:
    return Subtext(text, "identity" if text == caption else "core")


def _make_negative(parsed: Parse, change: Change) -> Subtext:
    """Apply a change to its caption; the rest stays unchanged."""
    tokens = parsed.tokens
    start, end = tokens[change.start].start, tokens[change.end - 1].end
    old = parsed.caption[start:end]
    new = change.new.capitalize() if old[:1].isupper() and not old[1:].isupper() else change.new
    edits = [Edit(change.kind, (start, end), old, new)]
    for index, text in change.repairs:
        token = tokens[index]
        edits.append(Edit("agreement", (token.start, token.end), token.text, text))
    text = parsed.caption
    for edit in sorted(edits, key=lambda e: -e.span[0]):
        text = text[: edit.span[0]] + edit.new + text[edit.span[1] :]
    return Subtext(text, change.kind, tuple(edits))
