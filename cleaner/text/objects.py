"""Exchanges of a thing that a caption names: "a red car" becomes "a red truck"."""

from __future__ import annotations

from itertools import islice
from random import Random

from cleaner.text import forms, kinds, rules
from cleaner.text.changes import Change, mark_unsafe_tokens, repair_article, sample_items
from cleaner.text.lexicon import CONCRETE_CLASSES, lexicon_cache, load_lexicon
from cleaner.text.parse import Chunk, Parse
from cleaner.text.tagger import NOUN_TAGS
from cleaner.text.vocabulary import Vocabulary

_MIN_CANDIDATES = 4
# Of a large vocabulary only so many words are looked through, the commonest.
_MAX_SCANNED_NOUNS = 150
_COLOR_NAMES = frozenset(word for group in kinds.COLOR_FAMILY for word in group)
_SUBSTITUTES: dict[str, tuple[str, ...]] = {}
for _group in kinds.SUBSTITUTE_GROUPS:
    for _noun in _group:
        _SUBSTITUTES[_noun] = (*_SUBSTITUTES.get(_noun, ()), *(word for word in _group if word != _noun))


def find_object_changes(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    """Return three or four exchanges of nouns, those of visible things likelier; the likeliest last."""
    weighed: list[tuple[float, int]] = []
    for c, chunk in enumerate(parsed.chunks):
        if chunk.kind == "NP" and not mark_unsafe_tokens(parsed)[chunk.head]:
            weight = score_noun(parsed, c)
            if weight:
                weighed.append((weight * (0.3 + rng.random()), c))
    weighed.sort(reverse=True)
    used = frozenset(t.lower for t in parsed.tokens)
    nouns = tuple({parsed.lemma(i): None for i, t in enumerate(parsed.tokens) if t.tag in NOUN_TAGS})
    found: list[Change] = []
    for _, c in weighed:
        found = _find_noun_changes(parsed, c, (used, nouns), rng, vocabulary) + found
        if len(found) >= 3:
            break
    return found


def score_noun(parsed: Parse, c: int) -> float:
    """Return how plain a counterfactual the noun of chunk `c` makes; 0 if it should be left alone."""
    chunk = parsed.chunks[c]
    noun = parsed.lemma(chunk.head)
    of = c + 1 < len(parsed.chunks) and parsed.chunks[c + 1].text == "of"
    if (
        (noun in rules.VAGUE and noun not in kinds.PERSONS)
        or (noun in rules.CONTAINERS and of)
        or noun in rules.IMAGE_NOUNS
    ):
        return 0.0
    if c + 1 < len(parsed.chunks) and parsed.tokens[parsed.chunks[c + 1].start].tag == "POS":
        return 0.0
    if chunk.head - 1 in chunk.attributes and load_lexicon().is_participle(noun):
        return 0.0  # "a young looking back" names no thing
    kind = load_lexicon().noun_class(noun)
    if noun in kinds.PERSONS or noun in _SUBSTITUTES or kind in CONCRETE_CLASSES:
        return 6.0
    return 3.0 if kind in kinds.CLASS_MEMBERS else 0.05 if kind else 0.0


@lexicon_cache(8192)
def _lexical_substitutes(noun: str) -> tuple[str, ...]:
    """Return what may stand for `noun` in plain English: from the lists by hand, by class, or else its sisters.

    Those too near to it are still among them.
    """
    if noun in kinds.PERSONS or noun in _SUBSTITUTES:
        return kinds.PERSONS.get(noun) or tuple(dict.fromkeys(_SUBSTITUTES[noun]))
    lexicon = load_lexicon()
    kind = lexicon.noun_class(noun) or ""
    above = kinds.ARTIFACT_MEMBERS if kind == "artifact" else {}
    members = next((words for name, words in above.items() if lexicon.is_hyponym(noun, name)), None)
    members = members or kinds.CLASS_MEMBERS.get(kind, ())
    sisters = [w for w in lexicon.sisters(noun) if w not in rules.VAGUE]
    if not members:
        return tuple(sisters[:8])
    known = [w for w in sisters if w in _SUBSTITUTES and lexicon.noun_class(w) == kind and w not in kinds.UNIQUE][:4]
    return tuple(dict.fromkeys([*known, *members]))


@lexicon_cache(65536)
def _vocabulary_substitutes(noun: str, preposition: str, is_countable: bool, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return what may stand for `noun` after the preposition `preposition` among the words of the training captions."""
    lexicon = load_lexicon()
    own = lexicon.noun_class(noun)
    used = vocabulary.nouns_by_preposition.get(preposition, {})
    listed = dict.fromkeys((*kinds.PERSONS.get(noun, ()), *_SUBSTITUTES.get(noun, ()), *_lexical_substitutes(noun)))
    person = noun in kinds.PERSONS or own == "person"

    def fits(word: str) -> bool:
        if word not in used or (is_countable and word not in vocabulary.countable) or word in _COLOR_NAMES:
            return False
        return word not in rules.VAGUE and word not in rules.CONTAINERS and lexicon.are_exclusive(noun, word)

    near = [word for word in listed if fits(word)]
    if len(near) >= _MIN_CANDIDATES:
        return tuple(near)
    same: list[str] = []
    other: list[str] = []
    for word in islice(used, _MAX_SCANNED_NOUNS):
        kind = lexicon.noun_class(word)
        # Roles and persons do not exclude each other: an actor is a man.
        alike = person and (kind == "person" or word in kinds.PERSONS)
        if (
            kind in CONCRETE_CLASSES
            and word not in listed
            and not alike
            and (own in CONCRETE_CLASSES or kind == own)
            and fits(word)
        ):
            (same if kind == own else other).append(word)
    return tuple(near + same if len(near) + len(same) >= _MIN_CANDIDATES else near + same + other)


def _find_noun_changes(
    parsed: Parse,
    c: int,
    caption_words: tuple[frozenset[str], tuple[str, ...]],
    rng: Random,
    vocabulary: Vocabulary | None,
) -> list[Change]:
    """Return up to two changes of the noun of chunk `c`; `caption_words` are the words and the nouns of the caption."""
    chunk = parsed.chunks[c]
    noun, head = parsed.lemma(chunk.head), parsed.tokens[chunk.head]
    many = head.tag in ("NNS", "NNPS") and head.lower != noun
    before = parsed.chunks[c - 1] if c else None
    slot = before.text if before and before.kind == "REL" else ""
    pool: tuple[str, ...] = ()
    if vocabulary is not None:
        counted = many or chunk.count is not None or parsed.tokens[chunk.start].lower in ("a", "an")
        pool = _vocabulary_substitutes(noun, slot, counted, vocabulary)
    exclusive = load_lexicon().are_exclusive
    by_hand = noun in kinds.PERSONS
    start = find_compound_start(parsed, chunk)
    found: list[Change] = []
    for choice, seen in ((pool, True), (_lexical_substitutes(noun), vocabulary is None)):
        for word in sample_items(rng, choice, 8) if not found else ():
            new = forms.pluralize(word) if many else word
            # A word of the caption, or one too near to another thing in it, could be true.
            if len(found) == 2:
                break
            if (
                word in caption_words[0]
                or new in caption_words[0]
                or (many and (word in kinds.UNIQUE or word in kinds.MASS))
            ):
                continue
            if all((other == noun and by_hand) or exclusive(word, other) for other in caption_words[1]):
                found.append(Change("object", start, chunk.end, new, repair_article(parsed, start, new), seen))
    return found


def find_compound_start(parsed: Parse, chunk: Chunk) -> int:
    """Return where the thing begins that the noun names: "ice cream" and "coffee table" go as one."""
    start = chunk.head
    lexicon = load_lexicon()
    while start > chunk.start:
        word = parsed.tokens[start - 1]
        joined = lexicon.compound_type(word.lower, parsed.lemma(start))
        if word.lower[0].isdigit():
            return chunk.head  # "an 18th century gown" keeps its century
        bound = word.tag == "JJ" and start < chunk.head and word.lower in rules.PRIVATIVE
        if not bound and (
            (joined is None and word.tag not in NOUN_TAGS)
            or (joined == "kind" and word.tag == "JJ" and not word.lower.endswith("ing"))
        ):
            break
        start -= 1
    return start
