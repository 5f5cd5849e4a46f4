"""Negative subtexts: one edit of the caption that makes it false of every picture the caption is true of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from cleaner.text import forms, rules
from cleaner.text.lexicon import CONCRETE, load_lexicon
from cleaner.text.parse import Chunk, Parse
from cleaner.text.tagger import NOUNS
from cleaner.text.vocabulary import Vocabulary

KIND_NAMES = ("object", "attribute", "count", "relation", "verb")
_COUNTED = ("two", "three", "four", "five")
_FINITE = ("VBZ", "VBP", "VBD", "VBE", "MD")
_BE = {"is": "are", "was": "were", "has": "have", "does": "do", "are": "is", "were": "was", "have": "has"}
_ENOUGH = 4


@dataclass(frozen=True, slots=True)
class Change:
    """Tokens [start, end) become `new`; `also` are repairs elsewhere (article, verb) as (token, new text)."""

    kind: str
    start: int
    end: int
    new: str
    also: tuple[tuple[int, str], ...] = ()


Finder = Callable[[Parse, Random, "Vocabulary | None"], list[Change]]


def negatives(parsed: Parse, n: int, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    """Return up to n changes with different results, the kinds that the caption allows drawn in turn."""
    if not parsed.phrases:
        return []
    turns: list[list[Change]] = []
    kinds = list(FINDERS)
    rng.shuffle(kinds)
    spare: list[list[Change]] = []
    for kind in kinds:
        found = FINDERS[kind](parsed, rng, vocabulary)
        if found:
            rng.shuffle(found)
            (spare if kind == "none" else turns).append(found)
    chosen: list[Change] = []
    seen: set[tuple[int, str]] = set()
    while len(chosen) < n and any(turns):
        for found in turns:
            while found and len(chosen) < n:
                change = found.pop()
                if (change.start, change.new) not in seen:
                    seen.add((change.start, change.new))
                    chosen.append(change)
                    break
    return chosen


@lru_cache(maxsize=1024)
def _blocked(parsed: Parse) -> tuple[bool, ...]:
    """Return for each token whether an edit there may leave the caption true: after a negation, or beside "or"."""
    blocked, open_negation = [], False
    for i, token in enumerate(parsed.tokens):
        open_negation = open_negation or token.lower in rules.NEGATIONS
        if token.tag in (".", ",") and i + 1 < len(parsed.tokens):
            open_negation = False
        blocked.append(open_negation)
    for i, chunk in enumerate(parsed.chunks):
        if parsed.words(chunk) in ("or", "/", "like"):
            for near in parsed.chunks[max(0, i - 1) : i + 2]:
                blocked[near.start : near.end] = [True] * (near.end - near.start)
    return tuple(blocked)


def _objects(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    weighed: list[tuple[float, int]] = []
    for c, chunk in enumerate(parsed.chunks):
        if chunk.kind == "NP" and not _blocked(parsed)[chunk.head]:
            weight = _interest(parsed, c)
            if weight:
                weighed.append((weight * (0.5 + rng.random()), c))
    weighed.sort(reverse=True)
    found: list[Change] = []
    for _, c in weighed[:3]:
        found = _exchanges(parsed, c, rng, vocabulary) + found
    return found


def _interest(parsed: Parse, c: int) -> float:
    """Return how plain a counterfactual the noun of chunk `c` makes; 0 if it should be left alone."""
    chunk = parsed.chunks[c]
    noun = parsed.lemma(chunk.head)
    of = c + 1 < len(parsed.chunks) and parsed.words(parsed.chunks[c + 1]) == "of"
    if (
        noun in rules.VAGUE
        or (noun in rules.CONTAINERS and of)
        or noun in rules.PHOTOS
        or noun in ("view", "background")
    ):
        return 0.0
    kind = load_lexicon().noun_class(noun)
    if noun in rules.PERSONS or _kinds(noun) or kind in CONCRETE:
        return 4.0
    return 2.0 if kind in ("person", "location", "time", "event") else 1.0 if kind else 0.0


@lru_cache(maxsize=4096)
def _kinds(noun: str) -> tuple[str, ...]:
    """Return the words of the hand-made lists that hold `noun`."""
    return tuple(dict.fromkeys(word for group in rules.KINDS if noun in group for word in group if word != noun))


@lru_cache(maxsize=8192)
def _lexical(noun: str) -> tuple[str, ...]:
    """Return what may stand for `noun` in plain English: persons, lists, sisters, in this order."""
    lexicon = load_lexicon()
    if noun in rules.PERSONS:
        return rules.PERSONS[noun]
    listed = [w for w in _kinds(noun) if lexicon.exclusive(noun, w)]
    if len(listed) >= 2:
        return tuple(listed)
    sisters = [w for w in lexicon.sisters(noun) if lexicon.exclusive(noun, w) and w not in rules.VAGUE]
    known = [w for w in sisters if _kinds(w) or w in rules.PERSONS][:8]
    return tuple(listed + (known if len(known) > 2 else sisters[:6]))


@lru_cache(maxsize=65536)
def _seen(noun: str, slot: str, plural: bool, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return what may stand for `noun` among the words of the training captions; few or none if they are too few."""
    lexicon = load_lexicon()
    own = lexicon.noun_class(noun)
    used = vocabulary.slots.get(slot, {})
    listed = set(rules.PERSONS.get(noun, ())) or set(_kinds(noun)) | set(lexicon.sisters(noun))
    persons = noun in rules.PERSONS or own == "person"
    fits = []
    for word in vocabulary.nouns:
        kind = lexicon.noun_class(word)
        if kind not in CONCRETE and kind != own:
            continue
        if word in rules.VAGUE or word in rules.CONTAINERS or not lexicon.exclusive(noun, word):
            continue
        if persons and (kind == "person" or word in rules.PERSONS) and word not in listed:
            continue
        if plural and word not in vocabulary.countable:
            continue
        fits.append((word, kind))
    near = [w for w, _ in fits if w in listed and w in used]
    same = [w for w, kind in fits if kind == own and w in used]
    return tuple(
        dict.fromkeys(
            next(
                (pool for pool in (near, near + same) if len(pool) >= _ENOUGH),
                near + same + [w for w, _ in fits if w in used],
            )
        )
    )


def _exchanges(parsed: Parse, c: int, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    """Return changes of the noun of chunk `c`."""
    chunk = parsed.chunks[c]
    lexicon = load_lexicon()
    noun = parsed.lemma(chunk.head)
    first = parsed.tokens[chunk.start].lower
    many = parsed.tokens[chunk.head].tag in ("NNS", "NNPS") and parsed.tokens[chunk.head].lower != noun
    before = parsed.chunks[c - 1] if c else None
    slot = parsed.words(before) if before and before.kind == "REL" else ""
    pool: Sequence[str] = ()
    if vocabulary is not None:
        pool = _seen(noun, slot, many or first in ("a", "an") or chunk.count is not None, vocabulary)
    words = rng.sample(pool, min(len(pool), 6)) if pool else []
    if len(words) < 3:
        rest = [w for w in _lexical(noun) if w not in words]
        words += rng.sample(rest, min(len(rest), 6))
    own = [parsed.lemma(i) for i, t in enumerate(parsed.tokens) if t.tag in NOUNS]
    texts = {t.lower for t in parsed.tokens}
    start = _unit(parsed, chunk)
    found: list[Change] = []
    for word in words:
        if len(found) == 3:
            break
        if word in texts or any(not lexicon.exclusive(word, other) for other in own if other != noun):
            continue
        new = forms.plural(word) if many else word
        if new in texts:
            continue
        found.append(Change("object", start, chunk.end, new, _articles(parsed, start, new)))
    return found


def _unit(parsed: Parse, chunk: Chunk) -> int:
    """Return where the thing begins that the noun names: "ice cream" and "coffee table" go as one."""
    start = chunk.head
    lexicon = load_lexicon()
    while start > chunk.start:
        word, after = (
            parsed.tokens[start - 1],
            parsed.lemma(start) if start == chunk.head else parsed.tokens[start].lower,
        )
        joined = lexicon.compound(word.lower, after)
        if joined is None and word.tag not in NOUNS:
            break
        if joined is not None and joined[1] and word.tag == "JJ":
            break
        start -= 1
    return start


def _articles(parsed: Parse, index: int, new: str) -> tuple[tuple[int, str], ...]:
    """Return the repair of "a" or "an" before token `index`, when the word there becomes `new`."""
    if index and parsed.tokens[index - 1].lower in ("a", "an"):
        old, right = parsed.tokens[index - 1].text, forms.article(new)
        if old.lower() != right:
            return ((index - 1, right.capitalize() if old[0].isupper() else right),)
    return ()


@lru_cache(maxsize=4096)
def _other_attributes(word: str) -> tuple[tuple[str, ...], ...]:
    """Return for each family that holds `word` the words of its other groups, and the direct antonyms."""
    lexicon = load_lexicon()
    found = []
    for family in rules.ATTRIBUTES.values():
        own = [group for group in family if word in group]
        if own:
            same = {w for group in own for w in group}
            found.append(
                tuple(
                    g[0] for g in family if g not in own and g[0] not in same and not lexicon.same_adjective(word, g[0])
                )
            )
    if not found:
        antonyms = tuple(w for w in lexicon.opposites(word) if not lexicon.same_adjective(word, w))
        found = [antonyms] if antonyms else []
    return tuple(group for group in found if group)


def _attributes(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    texts = {t.lower for t in parsed.tokens}
    found = []
    for i, token in enumerate(parsed.tokens):
        if not (token.tag.startswith("JJ") or (token.tag == "NN" and _modifies(parsed, i))) or _blocked(parsed)[i]:
            continue
        if (
            token.tag == "JJ"
            and i + 1 < len(parsed.tokens)
            and load_lexicon().compound(token.lower, parsed.lemma(i + 1))
        ):
            continue
        families = _other_attributes(token.lower)
        for words in families[:1] if len(families) == 1 else (rng.choice(families),) if families else ():
            free = [w for w in words if w not in texts]
            seen = [w for w in free if w in vocabulary.adjectives or w in vocabulary.nouns] if vocabulary else []
            free = seen or free
            for word in rng.sample(free, min(len(free), 3)):
                found.append(Change("attribute", i, i + 1, word, _articles(parsed, i, word)))
    return found


def _modifies(parsed: Parse, i: int) -> bool:
    """Return whether token `i` is a noun of material before a noun: "a glass door"."""
    word = parsed.tokens[i].lower
    after = parsed.tokens[i + 1].tag if i + 1 < len(parsed.tokens) else ""
    return after in NOUNS and any(word in group for group in rules.ATTRIBUTES["material"])


def _counts(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    found = []
    for c, chunk in enumerate(parsed.chunks):
        if chunk.kind != "NP" or _blocked(parsed)[chunk.head]:
            continue
        if chunk.count is not None:
            found += _other_number(parsed, chunk, rng)
        elif parsed.tokens[chunk.start].lower in ("a", "an") and parsed.tokens[chunk.head].tag == "NN":
            found += _more(parsed, c, rng)
    return found


def _other_number(parsed: Parse, chunk: Chunk, rng: Random) -> list[Change]:
    assert chunk.count is not None
    word = parsed.tokens[chunk.count].lower
    if word not in rules.NUMBERS[1:] or parsed.tokens[chunk.head].tag != "NNS":
        return []
    others = [w for w in _COUNTED if w != word]
    return [Change("count", chunk.count, chunk.count + 1, w) for w in rng.sample(others, 2)]


def _more(parsed: Parse, c: int, rng: Random) -> list[Change]:
    """Return "two red cars" for "a red car"."""
    chunk = parsed.chunks[c]
    noun = parsed.lemma(chunk.head)
    weight = _interest(parsed, c)
    if weight < 2 or noun not in load_lexicon() or chunk.determiner != chunk.start:
        return []
    repairs = [(chunk.head, forms.plural(parsed.tokens[chunk.head].lower))]
    following = next((v for v in parsed.chunks[c + 1 :] if v.kind != "REL"), None)
    for verb in parsed.chunks[c + 1 :]:
        if verb.kind == "VP" and parsed.tokens[verb.start].tag in _FINITE:
            if verb is not following or c > 0:
                return []
            repairs += _agreement(parsed, verb)
            break
    before = parsed.chunks[:c]
    if before and before[-1].kind == "VP" and parsed.words(before[-1]) in ("is", "was"):
        there = [i for i, t in enumerate(parsed.tokens[: chunk.start]) if t.lower == "there"]
        if not there:
            return []
        repairs += _agreement(parsed, before[-1])
    if (
        before
        and before[-1].kind == "VP"
        and parsed.tokens[before[-1].head].tag in ("VBZ", "VBE")
        and before[0].kind == "REL"
    ):
        if parsed.words(before[-1]) not in ("is", "was"):
            repairs += _agreement(parsed, before[-1])
    return [Change("count", chunk.start, chunk.start + 1, w, tuple(repairs)) for w in rng.sample(_COUNTED[:2], 2)]


def _agreement(parsed: Parse, verb: Chunk) -> list[tuple[int, str]]:
    token = parsed.tokens[verb.start]
    if token.lower in _BE:
        return [(verb.start, _BE[token.lower])]
    return [(verb.start, parsed.lemma(verb.start))] if token.tag == "VBZ" else []


def _relations(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    found = []
    for relation in parsed.relations:
        chunk, right = parsed.chunks[relation.preposition], parsed.chunks[relation.right]
        text = parsed.words(chunk)
        negated = text == "without"
        if text not in rules.RELATIONS and not negated:
            continue
        if _blocked(parsed)[chunk.start] and not negated:
            continue
        for new in ("with",) if negated else _opposite(parsed, text, relation.preposition, right):
            found.append(Change("relation", chunk.start, chunk.end, new))
    return found


def _opposite(parsed: Parse, text: str, c: int, right: Chunk) -> tuple[str, ...]:
    """Return the prepositions that make the phrase false, if it tells of a place."""
    noun = parsed.lemma(right.head)
    kind = load_lexicon().noun_class(noun)
    before = parsed.chunks[c - 1] if c else None
    after_verb = before is not None and before.kind == "VP"
    plain = text in (
        "on",
        "in",
        "at",
        "from",
        "around",
        "against",
        "along",
        "across",
        "through",
        "over",
        "with",
        "up",
        "down",
    )
    if not plain:
        return rules.RELATIONS[text]
    if text == "with":
        bare = (
            before is not None
            and before.kind == "NP"
            and kind in ("artifact", "animal", "person", "food", "plant", "body", "top")
        )
        return rules.RELATIONS[text] if bare else ()
    if kind in ("object", "location") or noun in ("beach", "street", "road", "island", "farm", "stage"):
        return {"on": ("far from",), "in": ("outside", "far from"), "at": ("far from",)}.get(
            text, rules.RELATIONS[text]
        )
    if kind in ("artifact", "animal", "food", "plant", "substance", "top"):
        if text in ("from", "with", "up", "down"):
            return ()
        return rules.RELATIONS[text] if not (after_verb and text == "in" and kind != "artifact") else ()
    return ()


@lru_cache(maxsize=4096)
def _other_verbs(verb: str, transitive: bool) -> tuple[str, ...]:
    """Return infinitives that exclude `verb`."""
    found = list(rules.VERB_PAIRS.get(verb, ()))
    family = rules.TRANSITIVE if transitive else rules.INTRANSITIVE
    own = [group for group in family if verb in group]
    if own:
        same = {w for group in own for w in group}
        found += [group[0] for group in family if group[0] not in same and group[0] not in found]
    return tuple(found)


def _verbs(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    found = []
    for c, chunk in enumerate(parsed.chunks):
        tag = parsed.tokens[chunk.head].tag
        if chunk.kind != "VP" or not tag.startswith("VB") or tag in ("VBE", "VBN") or _blocked(parsed)[chunk.head]:
            continue
        verb = parsed.lemma(chunk.head)
        following = parsed.chunks[c + 1] if c + 1 < len(parsed.chunks) else None
        transitive = following is not None and following.kind == "NP"
        words = _other_verbs(verb, transitive)
        seen = [w for w in words if w in vocabulary.verbs] if vocabulary else []
        words = tuple(seen) if len(seen) > 1 else words
        for word in rng.sample(words, min(len(words), 3)):
            found.append(Change("verb", chunk.head, chunk.head + 1, forms.conjugate(word, tag)))
    return found


FINDERS: dict[str, Finder] = {
    "object": _objects,
    "attribute": _attributes,
    "count": _counts,
    "relation": _relations,
    "verb": _verbs,
}
