"""Negative subtexts: one-word edits that contradict the caption."""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from random import Random

from cleaner.text import kinds, rules
from cleaner.text.changes import Change, mark_unsafe_tokens, repair_article, sample_items
from cleaner.text.counts import find_count_changes
from cleaner.text.lexicon import load_lexicon
from cleaner.text.objects import find_object_changes
from cleaner.text.parse import Chunk, Parse
from cleaner.text.tables import Family, read_set, read_table, split_words
from cleaner.text.tags import COLOR_WORDS, NOUN_TAGS
from cleaner.text.verbs import find_verb_changes
from cleaner.text.vocabulary import Vocabulary

_AMBIGUOUS_PREPOSITIONS = read_set("prepositions", "ambiguous")
_SOLID_CLASSES = frozenset(split_words("artifact animal food plant substance top body"))
_TANGIBLE_CLASSES = frozenset(split_words("artifact animal food plant substance top body person group communication"))
_INANIMATE_CLASSES = frozenset(split_words("artifact object location substance communication event time"))
_WATER_NOUNS, _WIDE_PLACES = read_set("nouns", "waters"), read_set("nouns", "wide_places")
_TRANSFORMATION_VERBS, _GAZE_VERBS = read_set("verbs", "transforming"), read_set("verbs", "gaze")
_PHRASES_WITHOUT_OPPOSITE = read_table("prepositions", "without_opposite")


def draw_changes(parsed: Parse, n: int, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    """Return up to n different changes, cycling through the kinds in random order.

    New words outside the vocabulary come last: training never showed them, so they would reveal the answer.
    """
    if not parsed.noun_phrases:
        return []
    order = list(FINDERS)
    rng.shuffle(order)
    queues: list[list[Change]] = []
    drawn: list[Change] = []
    for allow_unknown in (False, True):
        has_more = True
        while has_more and len(drawn) < n:
            has_more = False
            for k, kind in enumerate(order):
                if len(drawn) == n:
                    break  # the kinds that follow are not needed: finding their changes is most of the time
                if k == len(queues):
                    queues.append(_find_queue(parsed, kind, rng, vocabulary))
                queue = queues[k]
                if queue and (queue[-1].is_in_vocabulary or allow_unknown):
                    change = queue.pop()
                    drawn += [] if change in drawn else [change]
                    has_more = True
            if len({change.kind for change in drawn}) == 1:
                break  # prefer a second kind with an unknown word to the same kind twice
    return drawn


def _find_queue(parsed: Parse, kind: str, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    """Return the changes of one kind, those to draw first at the end."""
    queue = FINDERS[kind](parsed, rng, vocabulary)
    if kind != "object":
        rng.shuffle(queue)
    queue.sort(key=lambda change: change.is_in_vocabulary)
    return queue


def _index_alternatives(families: dict[str, Family]) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Return word -> (family, first words of the groups that exclude it)."""
    index: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for name, family in families.items():
        for word in dict.fromkeys(word for group in family for word in group):
            close = {w for group in family if word in group for w in group}
            others = tuple(group[0] for group in family if word not in group and group[0] not in close)
            index.setdefault(word, []).append((name, others))
    return index


_ATTRIBUTE_INDEX, _MODIFIER_INDEX = _index_alternatives(kinds.ATTRIBUTES), _index_alternatives(kinds.MODIFIERS)


@lru_cache(maxsize=8192)
def _other_attributes(word: str, noun: str, *, is_before_color: bool, is_modifier: bool) -> tuple[tuple[str, ...], ...]:
    """Return words that exclude `word` of `noun`, grouped by family; antonyms if it has no family."""
    lexicon = load_lexicon()
    families = (_MODIFIER_INDEX if is_modifier else _ATTRIBUTE_INDEX).get(word)
    if not families:
        # WordNet's "organic" and "functional" exclude each other in one sense only; "un-" always does.
        prefixed = tuple(w for w in lexicon.antonyms(word) if w.endswith(word) or word.endswith(w))
        return (prefixed,) if prefixed else ()
    if families[0][0] == "color":
        families = families[:1]  # a green cup is not lush
    unfit = _find_unfit_families(noun) | ({"weight", "light"} if is_before_color else set())
    alternatives = (
        tuple(w for w in others if not lexicon.are_similar_adjectives(word, w))
        for name, others in families
        if name not in unfit
    )
    return tuple(group for group in alternatives if group)


def _find_unfit_families(noun: str) -> set[str]:
    """Return the families whose words do not describe `noun`."""
    lexicon = load_lexicon()
    kind = lexicon.noun_class(noun)
    is_upright = kind in ("person", "animal", "plant", "top") or lexicon.is_hyponym(noun, "structure")
    unfit = {"length" if is_upright else "height"}
    if kind in _TANGIBLE_CLASSES:
        unfit |= {"weather", "sky"}
    if kind not in ("food", "plant"):
        unfit.add("ripe")
    if kind in _SOLID_CLASSES:
        unfit.add("ease")  # a simple dress is not easy
    if noun not in _WATER_NOUNS:
        unfit.add("water")
    if kind in _INANIMATE_CLASSES and noun not in kinds.PERSONS:
        unfit.add("age")  # an old house was never young
    if kind == "person" or noun in kinds.PERSONS:
        unfit |= {"new", "era"}  # a new teacher may be old
    if kind == "time":
        unfit.add("order")  # the last month may be the second as well
    return unfit


def _find_attribute_changes(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    """Return changes of color, size, material, pattern, age ..., or to an antonym."""
    heads = {i: parsed.lemma(c.head) for c in parsed.chunks if c.kind == "NP" for i in range(c.start, c.head)}
    caption_words = {t.lower for t in parsed.tokens}
    changes = []
    for i, token in enumerate(parsed.tokens):
        is_adjective = token.tag.startswith("JJ")
        if not (is_adjective or (token.tag == "NN" and _is_noun_modifier(parsed, i))) or mark_unsafe_tokens(parsed)[i]:
            continue
        if is_adjective and not _is_editable_adjective(parsed, i):
            continue
        next_token = parsed.next_token(i)
        families = _other_attributes(
            token.lower,
            heads.get(i, ""),
            is_before_color=next_token is not None and next_token.lower in COLOR_WORDS,
            is_modifier=not is_adjective and token.lower not in kinds.MATERIAL_WORDS,
        )
        if not families:
            continue
        words = [w for w in rng.choice(families) if w not in caption_words]
        known = [w for w in words if w in vocabulary.adjectives or w in vocabulary.nouns] if vocabulary else words
        for word in sample_items(rng, known or words, 3):
            changes.append(Change("attribute", i, i + 1, word, repair_article(parsed, i, word), bool(known)))
    return changes


def _is_editable_adjective(parsed: Parse, i: int) -> bool:
    """Return whether the adjective at token `i` describes the thing: not "hot dog", "hard rock artist"."""
    if parsed.tokens[i].lower in ("other", "same", "such", "own", "next"):
        return False
    if i and parsed.tokens[i].lower in kinds.COMPOUND_PARTICIPLES and parsed.tokens[i - 1].tag == "RB":
        return False  # "heart shaped", "brightly colored"
    after = parsed.next_token(i)
    if after is None or not (after.tag in NOUN_TAGS or after.tag[:2] in ("JJ", "CC", "CD") or after.lower == ","):
        # Outside a noun phrase only a predicate: "the door is open", not "lasts long".
        before = [t.tag for t in parsed.tokens[max(0, i - 2) : i]]
        return before[-1:] == ["VBE"] or before == ["VBE", "RB"]
    if load_lexicon().compound_type(parsed.tokens[i].lower, parsed.lemma(i + 1)):
        return False
    second = parsed.next_token(i + 1)
    is_before_two_nouns = after.tag in NOUN_TAGS and second is not None and second.tag in NOUN_TAGS
    return not is_before_two_nouns or parsed.tokens[i].lower not in rules.PRIVATIVE


def _is_noun_modifier(parsed: Parse, i: int) -> bool:
    """Return whether token `i` is a noun that describes the next one: "a glass door", "a summer dress"."""
    word, after = parsed.tokens[i].lower, parsed.next_token(i)
    return after is not None and after.tag in NOUN_TAGS and (word in _MODIFIER_INDEX or word in kinds.MATERIAL_WORDS)


def _find_relation_changes(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    """Return replacements of a preposition by one that excludes it, and of "without" by "with"."""
    changes = []
    for c, (chunk, after) in enumerate(pairwise(parsed.chunks)):
        if chunk.kind != "REL" or after.kind != "NP":
            continue
        if chunk.text == "without":
            changes.append(Change("relation", chunk.start, chunk.end, "with"))
        elif chunk.text in rules.OPPOSITE_PREPOSITIONS and not mark_unsafe_tokens(parsed)[chunk.start]:
            for new in _opposite_prepositions(parsed, chunk.text, c, after):
                changes.append(Change("relation", chunk.start, chunk.end, new))
    return changes


def _opposite_prepositions(parsed: Parse, text: str, c: int, right: Chunk) -> tuple[str, ...]:
    """Return the prepositions that make the phrase at chunk `c` false; () if it is not a location."""
    noun = parsed.lemma(right.head)
    kind = load_lexicon().noun_class(noun)
    before = parsed.chunks[c - 1].kind if c else ""
    if text in ("into", "out of") and any(
        chunk.kind == "VP" and parsed.lemma(chunk.head) in _TRANSFORMATION_VERBS
        for chunk in parsed.chunks[max(0, c - 2) : c]
    ):
        return ()  # "turns into a swan", "makes a hat out of paper"
    if noun in _PHRASES_WITHOUT_OPPOSITE.get(text, ()) or (text == "through" and _is_building(noun)):
        return ()
    if text == "under" and (noun in rules.IDIOM_NOUNS or kind in ("act", "cognition")):
        return ()  # "under the sun", "under construction"
    if text not in _AMBIGUOUS_PREPOSITIONS:
        return rules.OPPOSITE_PREPOSITIONS[text]
    if noun in rules.IDIOM_NOUNS or (text == "in" and right.text in kinds.MATERIAL_WORDS):
        return ()  # "a wallet in leather"
    if text == "with":
        return (
            rules.OPPOSITE_PREPOSITIONS[text]
            if before == "NP" and kind not in (None, "time", "cognition", "act")
            else ()
        )
    if text == "in" and _is_garment(noun):
        return ("without",)
    if text == "at" and kind != "time" and c and parsed.lemma(parsed.chunks[c - 1].head) in _GAZE_VERBS:
        return ("away from",) if before == "VP" else ()  # not "a closer look away from"
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


def _is_building(noun: str) -> bool:
    """Return whether one can walk around in it: around a museum, but not around a tunnel."""
    return any(load_lexicon().is_hyponym(noun, hypernym) for hypernym in ("building", "room", "facility"))


def _is_garment(noun: str) -> bool:
    """Return whether a person "in" it wears it."""
    garments = ("top", "suit", "outfit", "costume", "jeans", "shoe", "boot")
    return noun in garments or load_lexicon().is_hyponym(noun, "clothing")


def _is_passive(parsed: Parse, c: int) -> bool:
    return c > 0 and parsed.tokens[parsed.chunks[c - 1].head].tag in ("VBN", "VBD")


FINDERS: dict[str, Callable[[Parse, Random, Vocabulary | None], list[Change]]] = {
    "object": find_object_changes,
    "attribute": _find_attribute_changes,
    "count": find_count_changes,
    "relation": _find_relation_changes,
    "verb": find_verb_changes,
}
