"""Replacements of a thing that a caption names: "a red car" to "a red truck"."""

from functools import lru_cache
from itertools import islice
from random import Random

from cleaner.text import forms, kinds, rules
from cleaner.text.changes import Change, mark_unsafe_tokens, repair_article, sample_items
from cleaner.text.lexicon import CONCRETE_CLASSES, load_lexicon
from cleaner.text.parse import Chunk, Parse
from cleaner.text.tags import NOUN_TAGS
from cleaner.text.vocabulary import Vocabulary

_MIN_CANDIDATES = 4
_MAX_SCANNED_NOUNS = 150
"""Only this many of a vocabulary's nouns are scanned, the most common ones."""


def _index_substitutes() -> dict[str, tuple[str, ...]]:
    """Return noun -> the other nouns of its groups."""
    index: dict[str, tuple[str, ...]] = {}
    for group in kinds.SUBSTITUTE_GROUPS:
        for noun in group:
            index[noun] = (*index.get(noun, ()), *(word for word in group if word != noun))
    return index


_SUBSTITUTES = _index_substitutes()


def find_object_changes(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    """Return three or four replacements of nouns, preferring visible things; the best one last."""
    ranked: list[tuple[float, int]] = []
    for c, chunk in enumerate(parsed.chunks):
        if chunk.kind == "NP" and not mark_unsafe_tokens(parsed)[chunk.head]:
            score = score_noun(parsed, c)
            if score:
                ranked.append((score * (0.3 + rng.random()), c))
    ranked.sort(reverse=True)
    words = frozenset(t.lower for t in parsed.tokens)
    nouns = tuple({parsed.lemma(i): None for i, t in enumerate(parsed.tokens) if t.tag in NOUN_TAGS})
    changes: list[Change] = []
    for _, c in ranked:
        changes = _find_noun_changes(parsed, c, rng, vocabulary, caption_words=words, caption_nouns=nouns) + changes
        if len(changes) >= 3:
            break
    return changes


@lru_cache(maxsize=65536)
def score_noun(parsed: Parse, c: int) -> float:
    """Return how clear a counterfactual the noun of chunk `c` makes; 0 if it must not be replaced."""
    chunk = parsed.chunks[c]
    noun = parsed.lemma(chunk.head)
    following = parsed.next_chunk(c)
    if (noun in rules.VAGUE and noun not in kinds.PERSONS) or noun in rules.IMAGE_NOUNS:
        return 0.0
    if following and following.text == "of" and noun in rules.CONTAINERS:
        return 0.0
    if following and parsed.tokens[following.start].tag == "POS":
        return 0.0
    if chunk.head - 1 in chunk.attributes and load_lexicon().is_participle(noun):
        return 0.0  # "a young looking back" contains no thing
    kind = load_lexicon().noun_class(noun)
    if noun in kinds.PERSONS or noun in _SUBSTITUTES or kind in CONCRETE_CLASSES:
        return 6.0
    return 3.0 if kind in kinds.CLASS_MEMBERS else 0.05 if kind else 0.0


@lru_cache(maxsize=8192)
def _lexical_substitutes(noun: str) -> tuple[str, ...]:
    """Return replacements of `noun` from the hand-written tables, by class, or else its sisters.

    Some may be too close to exclude it.
    """
    if noun in kinds.PERSONS or noun in _SUBSTITUTES:
        return kinds.PERSONS.get(noun) or tuple(dict.fromkeys(_SUBSTITUTES[noun]))
    lexicon = load_lexicon()
    kind = lexicon.noun_class(noun) or ""
    by_hypernym = kinds.ARTIFACT_MEMBERS if kind == "artifact" else {}
    members = next((words for name, words in by_hypernym.items() if lexicon.is_hyponym(noun, name)), None)
    members = members or kinds.CLASS_MEMBERS.get(kind, ())
    sisters = [w for w in lexicon.sisters(noun) if w not in rules.VAGUE]
    if not members:
        return tuple(sisters[:8])
    listed = [w for w in sisters if w in _SUBSTITUTES and lexicon.noun_class(w) == kind and w not in kinds.UNIQUE][:4]
    return tuple(dict.fromkeys([*listed, *members]))


@lru_cache(maxsize=65536)
def _vocabulary_substitutes(noun: str, preposition: str, is_countable: bool, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return replacements of `noun` among the vocabulary's nouns after `preposition` ("" for none)."""
    lexicon = load_lexicon()
    noun_class = lexicon.noun_class(noun)
    candidates = vocabulary.nouns_by_preposition.get(preposition, {})
    listed = dict.fromkeys((*kinds.PERSONS.get(noun, ()), *_SUBSTITUTES.get(noun, ()), *_lexical_substitutes(noun)))

    def fits(word: str) -> bool:
        if word not in candidates or (is_countable and word not in vocabulary.countable) or word in kinds.COLOR_NAMES:
            return False
        return word not in rules.VAGUE and word not in rules.CONTAINERS and lexicon.are_exclusive(noun, word)

    fitting = [word for word in listed if fits(word)]
    if len(fitting) >= _MIN_CANDIDATES:
        return tuple(fitting)
    same_class: list[str] = []
    other_classes: list[str] = []
    for word in islice(candidates, _MAX_SCANNED_NOUNS):
        kind = lexicon.noun_class(word)
        if kind not in CONCRETE_CLASSES or (noun_class not in CONCRETE_CLASSES and kind != noun_class):
            continue
        # Roles and persons do not exclude each other: an actor is a man. Nor does anything else replace a person:
        # WordNet's first "male" and "queen" are animals.
        has_person = lexicon.is_person(noun) or lexicon.is_person(word)
        if word not in listed and not has_person and fits(word):
            (same_class if kind == noun_class else other_classes).append(word)
    fitting += same_class
    return tuple(fitting if len(fitting) >= _MIN_CANDIDATES else fitting + other_classes)


def _find_noun_changes(
    parsed: Parse,
    c: int,
    rng: Random,
    vocabulary: Vocabulary | None,
    *,
    caption_words: frozenset[str],
    caption_nouns: tuple[str, ...],
) -> list[Change]:
    """Return up to two changes of the noun of chunk `c`."""
    chunk = parsed.chunks[c]
    noun, is_plural = parsed.lemma(chunk.head), parsed.is_plural(chunk)
    from_vocabulary: tuple[str, ...] = ()
    if vocabulary is not None:
        is_counted = is_plural or chunk.count is not None or parsed.tokens[chunk.start].lower in ("a", "an")
        from_vocabulary = _vocabulary_substitutes(noun, parsed.preposition_before(c), is_counted, vocabulary)
    are_exclusive = load_lexicon().are_exclusive
    is_person = noun in kinds.PERSONS
    start = find_compound_start(parsed, chunk)
    changes: list[Change] = []
    for pool, is_known in ((from_vocabulary, True), (_lexical_substitutes(noun), vocabulary is None)):
        for word in sample_items(rng, pool, 8) if not changes else ():
            if len(changes) == 2:
                break
            new = forms.pluralize(word) if is_plural else word
            # A word of the caption, or one too close to another thing in it, could be true.
            if word in caption_words or new in caption_words:
                continue
            if is_plural and (word in kinds.UNIQUE or word in kinds.MASS or forms.singularize(word) != word):
                continue  # no "waters", no "stairses"
            if all((other == noun and is_person) or are_exclusive(word, other) for other in caption_nouns):
                changes.append(Change("object", start, chunk.end, new, repair_article(parsed, start, new), is_known))
    return changes


def find_compound_start(parsed: Parse, chunk: Chunk) -> int:
    """Return the first token of the noun's compound: "ice cream" and "coffee table" are one thing."""
    start = chunk.head
    lexicon = load_lexicon()
    while start > chunk.start:
        word = parsed.tokens[start - 1]
        compound = lexicon.compound_type(word.lower, parsed.lemma(start))
        if word.lower[0].isdigit():
            return chunk.head  # "an 18th century gown" keeps its century
        if word.lower in rules.NUMBER_NOUNS:
            break
        if parsed.joins_compound(start - 2):
            break  # "an off - road vehicle": the road is no part of the vehicle
        is_privative = word.tag == "JJ" and start < chunk.head and word.lower in rules.PRIVATIVE
        is_privative = is_privative or (word.tag == "RB" and parsed.tokens[start].lower in kinds.COMPOUND_PARTICIPLES)
        is_plain = compound is None and word.tag not in NOUN_TAGS
        is_adjective = compound == "kind" and word.tag == "JJ" and not word.lower.endswith("ing")
        if not is_privative and (is_plain or is_adjective):
            break
        start -= 1
    return start
