"""Negative subtexts: one edit of the caption that makes it false of every picture the caption is true of."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from cleaner.text import kinds, rules
from cleaner.text.changes import Change, article_repair, blocked, some
from cleaner.text.counts import counts
from cleaner.text.lexicon import cached, load_lexicon
from cleaner.text.objects import objects
from cleaner.text.parse import Chunk, Parse
from cleaner.text.tagger import COLOUR_WORDS, NOUNS
from cleaner.text.verbs import verbs
from cleaner.text.vocabulary import Vocabulary

# Prepositions that tell of a place only before the name of a thing or a place: not "on monday", "in love".
_BROAD = frozenset(kinds.words("on in at from around against along across through over with up down onto into by"))
_SOLID = frozenset(kinds.words("artifact animal food plant substance top body"))
_TANGIBLE = frozenset(kinds.words("artifact animal food plant substance top body person group communication"))
_LIFELESS = frozenset(kinds.words("artifact object location substance communication event time"))
_WATERS = frozenset(kinds.words("water waters sea ocean lake river pond pool bay wave surf stream"))
_BECOMING = frozenset(kinds.words("turn convert transform make fold change translate grow develop evolve divide"))
_WIDE = frozenset(kinds.words("beach street road island farm stage field city water lake sea ocean river pond"))


def negatives(
    parsed: Parse, n: int, rng: Random, vocabulary: Vocabulary | None, held_out: str | None = None
) -> list[Change]:
    """Return up to n different changes, the kinds that the caption allows drawn in turn; none of kind `held_out`."""
    if not parsed.phrases:
        return []
    order = [kind for kind in FINDERS if kind != held_out]
    rng.shuffle(order)
    turns = []
    for kind in order:
        found = FINDERS[kind](parsed, rng, vocabulary)
        if kind != "object":
            rng.shuffle(found)
        # Words that training never showed come last: they would give a small model the answer.
        found.sort(key=lambda change: change.seen)
        turns.append(found)
    chosen: list[Change] = []
    for unseen in (False, True):
        able = True
        while able and len(chosen) < n:
            able = False
            for found in turns:
                if len(chosen) < n and found and (found[-1].seen or unseen):
                    change = found.pop()
                    chosen += [] if change in chosen else [change]
                    able = True
            if len({change.kind for change in chosen}) == 1:
                break  # rather another kind in a new word than the same kind again
    return chosen


def _index(families: dict[str, kinds.Family]) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Return word -> (family, first words of the groups that exclude it)."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for name, family in families.items():
        for word in dict.fromkeys(word for group in family for word in group):
            own = {w for group in family if word in group for w in group}
            found.setdefault(word, []).append((name, tuple(g[0] for g in family if word not in g and g[0] not in own)))
    return found


_ATTRIBUTES, _MODIFIERS = _index(kinds.ATTRIBUTES), _index(kinds.MODIFIERS)


@cached(8192)
def _other_attributes(word: str, noun: str, before_colour: bool, modifier: bool) -> tuple[tuple[str, ...], ...]:
    """Return for each family that holds `word`, said of `noun`, the words of its other groups; or else an antonym."""
    lexicon = load_lexicon()
    families = (_MODIFIERS if modifier else _ATTRIBUTES).get(word)
    if not families:
        # WordNet's "organic" and "functional" exclude each other in one sense only; "un-" always does.
        prefixed = tuple(w for w in lexicon.opposites(word) if w.endswith(word) or word.endswith(w))
        return (prefixed,) if prefixed else ()
    if families[0][0] == "colour":
        families = families[:1]  # a green cup is not lush
    tall = lexicon.noun_class(noun) in ("person", "animal", "plant", "top") or lexicon.is_kind(noun, "structure")
    kind = lexicon.noun_class(noun)
    left_out = {"length" if tall else "height"} | ({"weight", "light"} if before_colour else set())
    left_out |= {"weather", "sky"} if kind in _TANGIBLE else set()
    left_out |= {"ripe"} if kind not in ("food", "plant") else set()
    left_out |= {"ease"} if kind in _SOLID else set()  # a simple dress is not easy
    left_out |= {"water"} if noun not in _WATERS else set()
    left_out |= {"age"} if kind in _LIFELESS and noun not in kinds.PERSONS else set()  # an old house was never young
    found = (
        tuple(w for w in others if not lexicon.same_adjective(word, w))
        for name, others in families
        if name not in left_out
    )
    return tuple(group for group in found if group)


def _attributes(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    """Return changes of colour, size, material, pattern, age ..., or to an antonym."""
    heads = {i: parsed.lemma(c.head) for c in parsed.chunks if c.kind == "NP" for i in range(c.start, c.head)}
    texts = {t.lower for t in parsed.tokens}
    found = []
    for i, token in enumerate(parsed.tokens):
        adjective = token.tag.startswith("JJ")
        if not (adjective or (token.tag == "NN" and _modifies(parsed, i))) or blocked(parsed)[i]:
            continue
        if adjective and not _free(parsed, i):
            continue
        after = parsed.tokens[i + 1].lower if i + 1 < len(parsed.tokens) else ""
        families = _other_attributes(
            token.lower, heads.get(i, ""), after in COLOUR_WORDS, not adjective and not _is_material(token.lower)
        )
        if not families:
            continue
        free = [w for w in rng.choice(families) if w not in texts]
        used = [w for w in free if w in vocabulary.adjectives or w in vocabulary.nouns] if vocabulary else free
        for word in some(rng, used or free, 3):
            found.append(Change("attribute", i, i + 1, word, article_repair(parsed, i, word), bool(used)))
    return found


def _free(parsed: Parse, i: int) -> bool:
    """Return whether the adjective at token `i` tells of the thing itself: not "hot dog", not "hard rock artist"."""
    if parsed.tokens[i].lower in ("other", "same", "such", "own", "next"):
        return False
    if i and parsed.tokens[i].lower in kinds.COMPOUND_ENDS and parsed.tokens[i - 1].tag == "RB":
        return False  # "heart shaped", "brightly colored"
    after = parsed.tokens[i + 1] if i + 1 < len(parsed.tokens) else None
    if after is None or not (after.tag in NOUNS or after.tag[:2] in ("JJ", "CC", "CD") or after.lower == ","):
        # Outside a noun phrase only what is said of a thing: "the door is open", not "lasts long".
        before = [t.tag for t in parsed.tokens[max(0, i - 2) : i]]
        return before[-1:] == ["VBE"] or before == ["VBE", "RB"]
    if load_lexicon().compound(parsed.tokens[i].lower, parsed.lemma(i + 1)):
        return False
    inner = after.tag in NOUNS and i + 2 < len(parsed.tokens) and parsed.tokens[i + 2].tag in NOUNS
    return not inner or parsed.tokens[i].lower not in rules.PRIVATIVE


def _is_material(word: str) -> bool:
    return any(word in group for name in ("material", "fabric") for group in kinds.ATTRIBUTES[name])


def _modifies(parsed: Parse, i: int) -> bool:
    """Return whether token `i` is a noun that tells of the next one: "a glass door", "a summer dress"."""
    word = parsed.tokens[i].lower
    after = parsed.tokens[i + 1].tag if i + 1 < len(parsed.tokens) else ""
    return after in NOUNS and (word in _MODIFIERS or _is_material(word))


def _relations(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    """Return exchanges of a preposition for one that excludes it, and of "without" for "with"."""
    found = []
    for relation in parsed.relations:
        chunk = parsed.chunks[relation.preposition]
        if chunk.text == "without":
            found.append(Change("relation", chunk.start, chunk.end, "with"))
        elif chunk.text in rules.RELATIONS and not blocked(parsed)[chunk.start]:
            for new in _opposite(parsed, chunk.text, relation.preposition, parsed.chunks[relation.right]):
                found.append(Change("relation", chunk.start, chunk.end, new))
    return found


def _opposite(parsed: Parse, text: str, c: int, right: Chunk) -> tuple[str, ...]:
    """Return the prepositions that make the phrase of the preposition at chunk `c` false, if it tells of a place."""
    noun = parsed.lemma(right.head)
    kind = load_lexicon().noun_class(noun)
    before = parsed.chunks[c - 1].kind if c else ""
    if text == "into" and before == "VP" and parsed.lemma(parsed.chunks[c - 1].head) in _BECOMING:
        return ()  # "turns into a swan"
    if text == "under" and (noun in rules.NOWHERE or kind in ("act", "cognition")):
        return ()  # "under the sun", "under construction"
    if text not in _BROAD:
        return rules.RELATIONS[text]
    if noun in rules.NOWHERE:
        return ()
    if text == "with":
        return rules.RELATIONS[text] if before == "NP" and kind not in (None, "time", "cognition", "act") else ()
    if text == "in" and _is_worn(noun):
        return ("without",)
    if text == "by":
        # "by the lake", but not "by the artist", "painted by hand".
        return rules.RELATIONS[text] if kind == "object" and not _is_passive(parsed, c) else ()
    if kind in ("object", "location") or noun in _WIDE or (kind == "event" and text == "at"):
        return rules.WIDE_RELATIONS.get(text, ())
    if (
        kind not in _SOLID
        or kind == "top"
        or text in ("from", "up", "down")
        or (before == "VP" and text == "in" and kind != "artifact")
    ):
        return ()
    return rules.RELATIONS[text]


def _is_worn(noun: str) -> bool:
    """Return whether somebody "in" it wears it."""
    listed = noun in ("top", "suit", "outfit", "costume", "jeans", "shoe", "boot")
    return listed or load_lexicon().is_kind(noun, "clothing")


def _is_passive(parsed: Parse, c: int) -> bool:
    return c > 0 and parsed.tokens[parsed.chunks[c - 1].head].tag in ("VBN", "VBD")


FINDERS: dict[str, Callable[[Parse, Random, Vocabulary | None], list[Change]]] = {
    "object": objects,
    "attribute": _attributes,
    "count": counts,
    "relation": _relations,
    "verb": verbs,
}
