"""The words of a set of captions; counterfactuals prefer them, as words that the model has seen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cleaner.text import kinds
from cleaner.text.lexicon import load_lexicon
from cleaner.text.parse import Parse, parse
from cleaner.text.tags import NOUN_TAGS


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Base forms with counts; `nouns_by_preposition`: preposition ("" for none) -> nouns after it."""

    nouns: Mapping[str, int]
    adjectives: Mapping[str, int]
    verbs: Mapping[str, int]
    countable: frozenset[str]
    """Nouns that occur in the plural, or after "a", "an" or a number; of a list of words, all but mass nouns."""
    nouns_by_preposition: Mapping[str, Mapping[str, int]]

    @classmethod
    def from_captions(cls, captions: Iterable[str]) -> Vocabulary:
        """Count the nouns, adjectives and verbs of `captions` that the lexicon knows."""
        counts: dict[str, Counter[str]] = {"n": Counter(), "a": Counter(), "v": Counter()}
        countable: set[str] = set()
        nouns_after: dict[str, Counter[str]] = defaultdict(Counter)
        for caption in captions:
            parsed = parse(caption)
            _count_words(parsed, counts)
            _count_phrases(parsed, countable, nouns_after)
        nouns, adjectives, verbs = (_sort_by_count(counts[pos]) for pos in "nav")
        return cls(
            nouns,
            adjectives,
            verbs,
            frozenset(countable),
            {preposition: _sort_by_count(n) for preposition, n in sorted(nouns_after.items())},
        )


def _sort_by_count(counts: Counter[str]) -> dict[str, int]:
    """Return the counts, the highest first and ties by name: no draw depends on the order of captions."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _count_words(parsed: Parse, counts: dict[str, Counter[str]]) -> None:
    lexicon = load_lexicon()
    for i, token in enumerate(parsed.tokens):
        pos = "n" if token.tag in NOUN_TAGS else {"JJ": "a", "VB": "v"}.get(token.tag[:2], "")
        if pos and token.tag != "VBE" and parsed.lemma(i) in lexicon:
            counts[pos][parsed.lemma(i)] += 1


def _count_phrases(parsed: Parse, countable: set[str], nouns_after: dict[str, Counter[str]]) -> None:
    for c, chunk in enumerate(parsed.chunks):
        if chunk.kind != "NP":
            continue
        noun = parsed.lemma(chunk.head)
        nouns_after[parsed.preposition_before(c)][noun] += 1
        first = parsed.tokens[chunk.start].lower
        # A list of words ("pear", "chair") has no articles.
        is_listed = len(parsed.tokens) == 1 and noun not in kinds.MASS
        is_counted = parsed.tokens[chunk.head].tag == "NNS" or first in ("a", "an") or chunk.count is not None
        if is_listed or (is_counted and noun not in kinds.UNCOUNTABLE):
            countable.add(noun)
