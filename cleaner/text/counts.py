"""Changes of number: "two cats" becomes "three cats", "a cat" "two cats", "cats" "a single cat"."""

from __future__ import annotations

from functools import lru_cache
from random import Random

from cleaner.text import forms, kinds, rules
from cleaner.text.changes import FINITE, Change, blocked
from cleaner.text.lexicon import load_lexicon
from cleaner.text.objects import interest
from cleaner.text.parse import Chunk, Parse
from cleaner.text.tagger import Token
from cleaner.text.vocabulary import Vocabulary

_DRAWN = ("two", "three", "four", "five")
_COUNTED = frozenset(
    kinds.words("animal artifact body object person plant location event communication top food group")
)
_TO_PLURAL = {"is": "are", "was": "were", "has": "have", "does": "do"}
_TO_SINGULAR = {plural: singular for singular, plural in _TO_PLURAL.items()}
_LOOSE = frozenset(("the", "these", "those", "some"))


def counts(parsed: Parse, rng: Random, vocabulary: Vocabulary | None) -> list[Change]:
    """Return changes of the number of a thing."""
    found: list[Change] = []
    for c, chunk in enumerate(parsed.chunks):
        if chunk.kind == "NP" and parsed.tokens[chunk.start].lower == "no":
            found += _some(parsed, chunk)
        if chunk.kind != "NP" or blocked(parsed)[chunk.head]:
            continue
        tag = parsed.tokens[chunk.head].tag
        if chunk.count is not None:
            found += _other_number(parsed, chunk, rng)
        elif tag == "NN":
            found += _more(parsed, c, rng)
        elif tag == "NNS":
            found += _single(parsed, c)
    return found


def _of_someone(parsed: Parse, chunk: Chunk, rng: Random) -> list[Change]:
    """Return "her two red cars" for "her red car"."""
    first, last = parsed.tokens[chunk.start + 1], parsed.tokens[chunk.head]
    if any(token.tag == "POS" for token in parsed.tokens[chunk.start : chunk.end + 1]):
        return []
    plural = forms.plural(last.lower)
    repairs = () if first is last else ((chunk.head, plural),)
    new = f"{rng.choice(_DRAWN[:3])} {plural if first is last else first.text}"
    return [Change("count", chunk.start + 1, chunk.start + 2, new, repairs)]


def _some(parsed: Parse, chunk: Chunk) -> list[Change]:
    """Return "many cars" for "no cars", "a car" for "no car"."""
    if chunk.start == chunk.head:
        return []
    if parsed.tokens[chunk.head].tag == "NNS":
        return [Change("count", chunk.start, chunk.start + 1, "many")]
    new = forms.article(parsed.tokens[chunk.start + 1].lower) if _is_counted(parsed.lemma(chunk.head)) else "much"
    return [Change("count", chunk.start, chunk.start + 1, new)]


def _other_number(parsed: Parse, chunk: Chunk, rng: Random) -> list[Change]:
    assert chunk.count is not None
    word = parsed.tokens[chunk.count].lower
    if parsed.tokens[chunk.head].tag != "NNS" or parsed.lemma(chunk.head) in kinds.PLURAL_ONLY:
        return []
    if word in rules.NUMBERS[1:]:
        return [Change("count", chunk.count, chunk.count + 1, w) for w in rng.sample(_DRAWN, 3) if w != word]
    if word in ("2", "3", "4", "5", "6"):
        return [Change("count", chunk.count, chunk.count + 1, w) for w in rng.sample("23456", 3) if w != word]
    return []


def _more(parsed: Parse, c: int, rng: Random) -> list[Change]:
    """Return "two red cars" for "a red car", and for "the red car" or "red car" if cars are counted."""
    chunk, lexicon = parsed.chunks[c], load_lexicon()
    noun, first = parsed.lemma(chunk.head), parsed.tokens[chunk.start]
    bare = chunk.determiner is None
    if first.tag == "PRP$" and _is_counted(noun) and _governed(parsed, c) is None:
        return _of_someone(parsed, chunk, rng)
    if not interest(parsed, c) or noun not in lexicon or (not bare and chunk.determiner != chunk.start):
        return []
    if first.lower not in ("a", "an"):
        counted = _is_counted(noun)
        idiom = bare and c and parsed.chunks[c - 1].kind == "REL" and parsed.chunks[c - 1].text not in ("of", "with")
        if (
            not counted
            or idiom
            or not (bare or first.lower == "the")
            or any(t.tag == "POS" for t in _tokens(parsed, c))
        ):
            return []
    alone = bare and chunk.start == chunk.head
    plural = forms.plural(parsed.tokens[chunk.head].lower)
    repairs = [] if alone else [(chunk.head, plural)]
    verb = _governed(parsed, c)
    if verb is not None:
        if any(v.kind == "VP" and parsed.tokens[v.start].tag == "VBZ" and v is not verb for v in parsed.chunks):
            return []  # "smiles and nods": both would have to agree
        token = parsed.tokens[verb.start]
        if token.lower in _TO_PLURAL:
            repairs.append((verb.start, _TO_PLURAL[token.lower]))
        elif token.tag == "VBZ":
            repairs.append((verb.start, parsed.lemma(verb.start)))
    rest = f" {plural if alone else first.text}" if bare else ""
    words = rng.sample(_DRAWN[:3], 2)
    return [Change("count", chunk.start, chunk.start + 1, w + rest, tuple(repairs)) for w in words]


@lru_cache(maxsize=4096)
def _is_counted(noun: str) -> bool:
    """Return whether there can be two of it, and a picture shows how many."""
    lexicon = load_lexicon()
    kind = lexicon.noun_class(noun)
    if noun in kinds.MASS or kind not in _COUNTED:
        return False
    built = kind == "artifact" and any(lexicon.is_kind(noun, above) for above in ("structure", "device", "container"))
    return built or kind in ("animal", "person") or noun in lexicon.countable


def _continues(parsed: Parse, chunk: Chunk) -> bool:
    """Return whether what stands before the noun phrase belongs to it: "these amazing, surviving | cities"."""
    before = parsed.tokens[chunk.start - 1].tag if chunk.start else "."
    return before in ("JJ", "VBN", "CD", "DT", "RB", ":", "POS", "PRP$", "NN", "NNS")


def _tokens(parsed: Parse, c: int) -> tuple[Token, ...]:
    """Return the tokens of chunk `c` and the one after it."""
    return parsed.tokens[parsed.chunks[c].start : parsed.chunks[c].end + 1]


def _single(parsed: Parse, c: int) -> list[Change]:
    """Return "a single red car" for "red cars" or "the red cars"."""
    chunk = parsed.chunks[c]
    head, before = parsed.tokens[chunk.head].lower, parsed.chunks[c - 1].text if c else ""
    noun = parsed.lemma(chunk.head)
    if (
        noun == head
        or noun in kinds.MASS
        or head in kinds.PLURAL_ONLY
        or before in ("of", "between", "among")
        or not interest(parsed, c)
    ):
        return []
    follows = parsed.chunks[c + 1].text if c + 1 < len(parsed.chunks) else ""
    if _continues(parsed, chunk) or follows in ("and", "&", "of") or before in ("and", "&", "are", "were", "as"):
        return []
    first = parsed.tokens[chunk.start]
    loose = first.lower in _LOOSE
    if (chunk.determiner is not None and not loose) or first.lower in ("many", "several", "few", "various", "other"):
        return []
    alone = chunk.start == chunk.head
    new = "a single" if loose else f"a single {noun if alone else first.text}"
    repairs = [] if alone else [(chunk.head, noun)]
    verb = _governed(parsed, c)
    if verb is not None:
        token = parsed.tokens[verb.start]
        if token.lower in _TO_SINGULAR:
            repairs.append((verb.start, _TO_SINGULAR[token.lower]))
        elif token.tag in ("VBP", "VB"):
            repairs.append((verb.start, forms.conjugate(parsed.lemma(verb.start), "VBZ")))
    return [Change("count", chunk.start, chunk.start + 1, new, tuple(repairs))]


def _governed(parsed: Parse, c: int) -> Chunk | None:
    """Return the verb that agrees with the noun phrase at chunk `c`: after it, or before it in "there is a cat"."""
    chunks = parsed.chunks
    if c + 2 < len(chunks) and chunks[c + 1].text in ("who", "which", "that") and chunks[c + 2].kind == "VP":
        return chunks[c + 2]
    if c and chunks[c - 1].kind == "REL":
        return None
    if c and chunks[c - 1].kind == "VP":
        # "on the grass sits a cat", "there is a cat": the subject comes after the verb.
        led = chunks[: c - 1]
        fronted = bool(led) and led[0].kind == "REL" and all(x.kind in ("REL", "NP") or x.text == "there" for x in led)
        return chunks[c - 1] if fronted or (led and led[-1].text == "there") else None
    k = c + 1
    while k + 1 < len(chunks) and chunks[k].kind == "REL" and chunks[k + 1].kind == "NP":
        k += 2
    if k < len(chunks) and chunks[k].kind == "O" and parsed.tokens[chunks[k].start].tag in ("WP", "RB"):
        k += 1
    if k < len(chunks) and chunks[k].kind == "VP" and parsed.tokens[chunks[k].start].tag in FINITE:
        return chunks[k]
    return None
