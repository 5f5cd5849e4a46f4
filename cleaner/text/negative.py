"""Negative subtexts: one edit of the caption that makes it false of every picture the caption is true of."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from cleaner.text import kinds, rules
from cleaner.text.changes import Change, mark_unsafe_tokens, repair_article, sample_items
from cleaner.text.counts import find_count_changes
from cleaner.text.lexicon import lexicon_cache, load_lexicon
from cleaner.text.objects import find_object_changes
from cleaner.text.parse import Chunk, Parse
from cleaner.text.tagger import COLOR_WORDS, NOUN_TAGS
from cleaner.text.verbs import find_verb_changes
from cleaner.text.vocabulary import Vocabulary

# Prepositions that tell of a place only before the name of a thing or a place: not "on monday", "in love".
_AMBIGUOUS_PREPOSITIONS = frozenset(
    kinds.split_words("on in at from around against along across through over with up down onto into by")
)
_SOLID_CLASSES = frozenset(kinds.split_words("artifact animal food plant substance top body"))
_TANGIBLE_CLASSES = frozenset(
    kinds.split_words("artifact animal food plant substance top body person group communication")
)
_INANIMATE_CLASSES = frozenset(kinds.split_words("artifact object location substance communication event time"))
_WATER_NOUNS = frozenset(kinds.split_words("water waters sea ocean lake river pond pool bay wave surf stream"))
_TRANSFORMATION_VERBS = frozenset(
    kinds.split_words("turn convert transform make fold change translate grow develop evolve divide")
)
_WIDE_PLACES = frozenset(
    kinds.split_words("beach street road island farm stage field city water lake sea ocean river pond")
)


def draw_changes(
    parsed: Parse, n: int, rng: Random, vocabulary: Vocabulary | None, held_out: str | None = None
) -> list[Change]:
    """Return up to n different changes, the kinds that the caption allows drawn in turn; none of kind `held_out`."""
    if not parsed.noun_phrases:
        return []
    order = [kind for kind in FINDERS if kind != held_out]
    rng.shuffle(order)
    turns = []
    for kind in order:
        found = FINDERS[kind](parsed, rng, vocabulary)
        if kind != "object":
            rng.shuffle(found)
        # Words that training never showed come last: they would give a small model the answer.
        found.sort(key=lambda change: change.is_in_vocabulary)
        turns.append(found)
    chosen: list[Change] = []
    for unseen in (False, True):
        able = True
        while able and len(chosen) < n:
            able = False
            for found in turns:
                if len(chosen) < n and found and (found[-1].is_in_vocabulary or unseen):
                    change = found.pop()
                    chosen += [] if change in chosen else [change]
                    able = True
            if len({change.kind for change in chosen}) == 1:
                break  # rather another kind in a new word than the same kind again
    return chosen


def _index_alternatives(families: dict[str, kinds.Family]) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Return word -> (family, first words of the groups that exclude it)."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for name, family in families.items():
        for word in dict.fromkeys(word for group in family for word in group):
            own = {w for group in family if word in group for w in group}
            found.setdefault(word, []).append((name, tuple(g[0] for g in family if word not in g and g[0] not in own)))
    return found


_ATTRIBUTE_INDEX, _MODIFIER_INDEX = _index_alternatives(kinds.ATTRIBUTES), _index_alternatives(kinds.MODIFIERS)


@lexicon_cache(8192)
def _other_attributes(word: str, noun: str, is_before_color: bool, is_modifier: bool) -> tuple[tuple[str, ...], ...]:
    """Return for each family that holds `word`, said of `noun`, the words of its other groups; or else an antonym."""
    lexicon = load_lexicon()
    families = (_MODIFIER_INDEX if is_modifier else _ATTRIBUTE_INDEX).get(word)
    if not families:
        # WordNet's "organic" and "functional" exclude each other in one sense only; "un-" always does.
        prefixed = tuple(w for w in lexicon.antonyms(word) if w.endswith(word) or word.endswith(w))
        return (prefixed,) if prefixed else ()
    if families[0][0] == "colour":
        families = families[:1]  # a green cup is not lush
    tall = lexicon.noun_class(noun) in ("person", "animal", "plant", "top") or lexicon.is_hyponym(noun, "structure")
    kind = lexicon.noun_class(noun)
    left_out = {"length" if tall else "height"} | ({"weight", "light"} if is_before_color else set())
    left_out |= {"weather", "sky"} if kind in _TANGIBLE_CLASSES else set()
    left_out |= {"ripe"} if kind not in ("food", "plant") else set()
    left_out |= {"ease"} if kind in _SOLID_CLASSES else set()  # a simple dress is not easy
    left_out |= {"water"} if noun not in _WATER_NOUNS else set()
    left_out |= (
        {"age"} if kind in _INANIMATE_CLASSES and noun not in kinds.PERSONS else set()
    )  # an old house was never young
    found = (
        tuple(w for w in others if not lexicon.are_similar_adjectives(word, w))
        for name, others in families
        if name not in left_out
    )
    return tuple(group for group in found if group)


def _find_attribute_changes(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    """Return changes of colour, size, material, pattern, age ..., or to an antonym."""
    heads = {i: parsed.lemma(c.head) for c in parsed.chunks if c.kind == "NP" for i in range(c.start, c.head)}
    texts = {t.lower for t in parsed.tokens}
    found = []
    for i, token in enumerate(parsed.tokens):
        adjective = token.tag.startswith("JJ")
        if not (adjective or (token.tag == "NN" and _is_noun_modifier(parsed, i))) or mark_unsafe_tokens(parsed)[i]:
            continue
        if adjective and not _is_editable_adjective(parsed, i):
            continue
        after = parsed.tokens[i + 1].lower if i + 1 < len(parsed.tokens) else ""
        families = _other_attributes(
            token.lower, heads.get(i, ""), after in COLOR_WORDS, not adjective and not _is_material(token.lower)
        )
        if not families:
            continue
        free = [w for w in rng.choice(families) if w not in texts]
        used = [w for w in free if w in vocabulary.adjectives or w in vocabulary.nouns] if vocabulary else free
        for word in sample_items(rng, used or free, 3):
            found.append(Change("attribute", i, i + 1, word, repair_article(parsed, i, word), bool(used)))
    return found


def _is_editable_adjective(parsed: Parse, i: int) -> bool:
    """Return whether the adjective at token `i` tells of the thing itself: not "hot dog", not "hard rock artist"."""
    if parsed.tokens[i].lower in ("other", "same", "such", "own", "next"):
        return False
    if i and parsed.tokens[i].lower in kinds.COMPOUND_PARTICIPLES and parsed.tokens[i - 1].tag == "RB":
        return False  # "heart shaped", "brightly colored"
    after = parsed.tokens[i + 1] if i + 1 < len(parsed.tokens) else None
    if after is None or not (after.tag in NOUN_TAGS or after.tag[:2] in ("JJ", "CC", "CD") or after.lower == ","):
        # Outside a noun phrase only what is said of a thing: "the door is open", not "lasts long".
        before = [t.tag for t in parsed.tokens[max(0, i - 2) : i]]
        return before[-1:] == ["VBE"] or before == ["VBE", "RB"]
    if load_lexicon().compound_type(parsed.tokens[i].lower, parsed.lemma(i + 1)):
        return False
    inner = after.tag in NOUN_TAGS and i + 2 < len(parsed.tokens) and parsed.tokens[i + 2].tag in NOUN_TAGS
    return not inner or parsed.tokens[i].lower not in rules.PRIVATIVE


def _is_material(word: str) -> bool:
    return any(word in group for name in ("material", "fabric") for group in kinds.ATTRIBUTES[name])


def _is_noun_modifier(parsed: Parse, i: int) -> bool:
    """Return whether token `i` is a noun that tells of the next one: "a glass door", "a summer dress"."""
    word = parsed.tokens[i].lower
    after = parsed.tokens[i + 1].tag if i + 1 < len(parsed.tokens) else ""
    return after in NOUN_TAGS and (word in _MODIFIER_INDEX or _is_material(word))


def _find_relation_changes(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    """Return exchanges of a preposition for one that excludes it, and of "without" for "with"."""
    found = []
    for relation in parsed.relations:
        chunk = parsed.chunks[relation.preposition]
        if chunk.text == "without":
            found.append(Change("relation", chunk.start, chunk.end, "with"))
        elif chunk.text in rules.OPPOSITE_PREPOSITIONS and not mark_unsafe_tokens(parsed)[chunk.start]:
            for new in _opposite_prepositions(parsed, chunk.text, relation.preposition, parsed.chunks[relation.right]):
                found.append(Change("relation", chunk.start, chunk.end, new))
    return found


def _opposite_prepositions(parsed: Parse, text: str, c: int, right: Chunk) -> tuple[str, ...]:
    """Return the prepositions that make the phrase of the preposition at chunk `c` false, if it tells of a place."""
    noun = parsed.lemma(right.head)
    kind = load_lexicon().noun_class(noun)
    before = parsed.chunks[c - 1].kind if c else ""
    if text == "into" and before == "VP" and parsed.lemma(parsed.chunks[c - 1].head) in _TRANSFORMATION_VERBS:
        return ()  # "turns into a swan"
    if text == "under" and (noun in rules.IDIOM_NOUNS or kind in ("act", "cognition")):
        return ()  # "under the sun", "under construction"
    if text not in _AMBIGUOUS_PREPOSITIONS:
        return rules.OPPOSITE_PREPOSITIONS[text]
    if noun in rules.IDIOM_NOUNS:
        return ()
    if text == "with":
        return (
            rules.OPPOSITE_PREPOSITIONS[text]
            if before == "NP" and kind not in (None, "time", "cognition", "act")
            else ()
        )
    if text == "in" and _is_garment(noun):
        return ("without",)
    if text == "by":
        # "by the lake", but not "by the artist", "painted by hand".
        return rules.OPPOSITE_PREPOSITIONS[text] if kind == "object" and not _is_passive(parsed, c) else ()
    if kind in ("object", "location") or noun in _WIDE_PLACES or (kind == "event" and text == "at"):
        return rules.WIDE_PLACE_OPPOSITES.get(text, ())
    if (
        kind not in _SOLID_CLASSES
        or kind == "top"
        or text in ("from", "up", "down")
        or (before == "VP" and text == "in" and kind != "artifact")
    ):
        return ()
    return rules.OPPOSITE_PREPOSITIONS[text]


def _is_garment(noun: str) -> bool:
    """Return whether somebody "in" it wears it."""
    listed = noun in ("top", "suit", "outfit", "costume", "jeans", "shoe", "boot")
    return listed or load_lexicon().is_hyponym(noun, "clothing")


def _is_passive(parsed: Parse, c: int) -> bool:
    return c > 0 and parsed.tokens[parsed.chunks[c - 1].head].tag in ("VBN", "VBD")


FINDERS: dict[str, Callable[[Parse, Random, Vocabulary | None], list[Change]]] = {
    "object": find_object_changes,
    "attribute": _find_attribute_changes,
    "count": find_count_changes,
    "relation": _find_relation_changes,
    "verb": find_verb_changes,
}
