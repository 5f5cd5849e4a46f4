"""The shipped lexicon: what English words mean to each other, cut out of WordNet 3.0 (assets/lexicon/LICENSE)."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from cleaner.files import shipped_assets
from cleaner.text import forms, kinds
from cleaner.types import CleanerError

LEXICON_PATH = shipped_assets() / "lexicon" / "lexicon.json.gz"
LEXICONS = ("shipped", "wordnet")
# Classes whose members one can point at; an exchange of these makes the plainest counterfactual.
P = ParamSpec("P")
R = TypeVar("R")
CONCRETE_CLASSES = frozenset(kinds.split_words("animal artifact body food object plant"))


class Lexicon:
    """Counts, classes, sisters, synonyms, opposites and the hypernym graph of common English words.

    `tables` is what `build_lexicon.Builder.build` returns.
    """

    def __init__(self, tables: dict[str, Any]) -> None:
        self._counts: dict[str, str] = tables["counts"]
        self._nouns: dict[str, str] = tables["nouns"]
        self._parents: list[str] = tables["noun_parents"]
        self._verbs: dict[str, str] = tables["verbs"]
        self._adjectives: dict[str, str] = tables["adjectives"]
        self._synonyms: dict[str, dict[str, str]] = {pos: tables[f"synonyms_{pos}"] for pos in "nvar"}
        self._gloss_related: dict[str, str] = tables["near"]
        self.countable = frozenset(tables["countable"].split())
        self._compounds: dict[str, str] = tables["compounds"]
        self._forms: dict[str, dict[str, str]] = {pos: tables[f"forms_{pos}"] for pos in "nv"}
        self._confusable_groups: dict[str, frozenset[int]] = {}
        for number, group in enumerate(kinds.CONFUSABLE_NOUNS):
            for word in group:
                self._confusable_groups[word] = self._confusable_groups.get(word, frozenset()) | {number}
        self._count_cache: dict[str, tuple[int, ...]] = {}
        self._classes: dict[str, str | None] = {}
        self._synsets: dict[str, list[str]] = {}
        self._primary_hypernyms: dict[str, frozenset[str]] = {}
        self._closures: dict[str, frozenset[str]] = {}
        self._noun_lemmas: dict[str, str | None] = {}
        self._verb_lemmas: dict[str, str | None] = {}
        self._exclusive_pairs: dict[tuple[str, str], bool] = {}

    def __contains__(self, word: str) -> bool:
        return word in self._counts or word in self._nouns

    def count(self, pos: str, word: str | None) -> int:
        """Return how often SemCor has `word` as "n", "v", "a" or "r", plus one; 0 if it never is."""
        if not word:
            return 0
        if word not in self._count_cache:
            entry = self._counts.get(word)
            self._count_cache[word] = tuple(map(int, entry.split())) if entry else (int(word in self._nouns), 0, 0, 0)
        return self._count_cache[word]["nvar".index(pos)]

    def noun_lemma(self, form: str) -> str | None:
        """Return the singular noun behind `form`, or None if the lexicon has none."""
        if form not in self._noun_lemmas:
            stem = form[:-2] if form.endswith("es") else ""
            found = (c for c in (self._forms["n"].get(form), forms.singularize(form), form, stem) if c in self._nouns)
            self._noun_lemmas[form] = next(found, None)
        return self._noun_lemmas[form]

    def verb_lemma(self, form: str) -> str | None:
        """Return the infinitive behind `form`, or None if the lexicon has none."""
        if form not in self._verb_lemmas:
            odd = self._forms["v"].get(form, "")
            american = re.sub(r"is(e|es|ed|ing)$", r"iz\1", form)
            candidates = (odd, *forms.verb_lemmas(form), *forms.verb_lemmas(american))
            self._verb_lemmas[form] = next((lemma for lemma in candidates if lemma in self._verbs), None)
        return self._verb_lemmas[form]

    def noun_class(self, noun: str) -> str | None:
        """Return WordNet's class of the likeliest sense ("animal", "artifact", "time"), or None."""
        if noun not in self._classes:
            entry = self._nouns.get(noun)
            self._classes[noun] = entry.partition(";")[0] if entry else None
        return self._classes[noun]

    def is_hyponym(self, noun: str, hypernym: str) -> bool:
        """Return whether `noun` in its likeliest sense is a kind of `hypernym` in its likeliest sense."""
        other = self._senses(hypernym)[:1]
        if noun not in self._primary_hypernyms:
            self._primary_hypernyms[noun] = self._with_hypernyms(self._senses(noun)[:1])
        return bool(other) and other[0] in self._primary_hypernyms[noun]

    def is_participle(self, word: str) -> bool:
        """Return whether a word in -ing is hardly ever the name of a thing: "looking", but not "painting"."""
        if not word.endswith("ing") or self.noun_class(word) in CONCRETE_CLASSES:
            return False
        return self.count("v", self.verb_lemma(word)) > 20 * self.count("n", word)

    def compound_type(self, first: str, second: str) -> str | None:
        """Return "kind" for a two-word noun that is a kind of `second` ("polar bear"), "own" if not, else None."""
        return self._compounds.get(f"{first} {second}")

    def sisters(self, noun: str) -> list[str]:
        """Return co-hyponyms of a noun, the commonest and closest first; some may be too near to exclude it."""
        return self._nouns.get(noun, ";;").split(";")[2].split()

    def verb_sisters(self, verb: str) -> list[str]:
        """Return co-hyponyms of a verb."""
        return self._verbs.get(verb, ";").split(";")[1].split()

    def synonyms(self, pos: str, word: str) -> list[str]:
        """Return synonyms of `word` as "n", "v", "a" or "r" in its likeliest sense."""
        return self._synonyms[pos].get(word, "").split()

    def antonyms(self, adjective: str) -> list[str]:
        """Return direct antonyms of an adjective."""
        return self._adjectives.get(adjective, ";").split(";")[1].split()

    def are_similar_adjectives(self, first: str, second: str) -> bool:
        """Return whether two adjectives belong to one cluster of meaning."""
        one, other = (self._adjectives.get(w, ";").split(";")[0].split() for w in (first, second))
        return second in one or first in other

    def are_exclusive(self, first: str, second: str) -> bool:
        """Return whether a thing called `first` is certainly no `second`: no synonym, kind or twin in any sense."""
        key = (first, second) if first < second else (second, first)
        known = self._exclusive_pairs.get(key)
        if known is None:
            known = self._exclusive_pairs[key] = self._compute_exclusive(*key)
        return known

    def _compute_exclusive(self, first: str, second: str) -> bool:
        if first.endswith(second) or second.endswith(first):
            return False
        if (
            first in self._confusable_groups
            and second in self._confusable_groups
            and self._confusable_groups[first] & self._confusable_groups[second]
        ):
            return False
        if first in self._gloss_related and second in self._gloss_related[first].split():
            return False
        if second in self._gloss_related and first in self._gloss_related[second].split():
            return False
        own, other = self._senses(first), self._senses(second)
        return self._hypernym_closure(second).isdisjoint(own) and self._hypernym_closure(first).isdisjoint(other)

    def _senses(self, noun: str) -> list[str]:
        """Return the synsets of a noun, the likeliest sense first."""
        if noun not in self._synsets:
            self._synsets[noun] = self._nouns.get(noun, ";;").split(";")[1].split()
        return self._synsets[noun]

    def _hypernym_closure(self, noun: str) -> frozenset[str]:
        """Return all synsets that a sense of `noun` is or belongs to."""
        if noun not in self._closures:
            self._closures[noun] = self._with_hypernyms(self._senses(noun))
        return self._closures[noun]

    def _with_hypernyms(self, synsets: list[str]) -> frozenset[str]:
        """Return the synsets and all their hypernyms."""
        found: set[str] = set()
        edge = list(synsets)
        while edge:
            synset = edge.pop()
            if synset not in found:
                found.add(synset)
                edge.extend(self._parents[int(synset)].split())
        return frozenset(found)


_CACHES: list[Callable[[], None]] = []
_chosen = "shipped"


def lexicon_cache(maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return `lru_cache(maxsize)` for a function whose results depend on the lexicon; `use_lexicon` empties it."""

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        kept = lru_cache(maxsize=maxsize)(function)
        _CACHES.append(kept.cache_clear)
        return cast("Callable[P, R]", kept)

    return wrap


def use_lexicon(name: str) -> None:
    """Choose the lexicon of this process: "shipped" (the default) or "wordnet"; every text made after it uses it."""
    global _chosen
    if name == _chosen:
        return  # what was made with it stays
    _read(name)
    _chosen = name
    for clear in _CACHES:
        clear()


@contextmanager
def using_lexicon(name: str) -> Iterator[None]:
    """Use a lexicon within a `with` block, as `use_lexicon` does, and the one before after it."""
    before = _chosen
    use_lexicon(name)
    try:
        yield
    finally:
        use_lexicon(before)


def load_lexicon() -> Lexicon:
    """Return the lexicon that was chosen; `CleanerError` if its file is missing."""
    return _read(_chosen)


@lru_cache(maxsize=2)
def _read(name: str) -> Lexicon:
    """Return the shipped lexicon, or with "wordnet" all of WordNet as nltk finds it; `CleanerError` if missing."""
    if name == "shipped":
        if not LEXICON_PATH.is_file():
            raise CleanerError(
                f"The lexicon is missing: put back {LEXICON_PATH} (python -m cleaner.text.build_lexicon makes it)."
            )
        with gzip.open(LEXICON_PATH) as file:
            return Lexicon(json.load(file))
    if name != "wordnet":
        raise CleanerError(f"lexicon must be 'shipped' or 'wordnet', not {name!r}.")
    import nltk

    from cleaner.text.build_lexicon import LexiconBuilder
    from cleaner.text.wordnet import read_wordnet

    try:
        folder = Path(str(nltk.data.find("corpora/wordnet")))
    except LookupError as error:
        raise CleanerError("nltk finds no WordNet: put it as corpora/wordnet in a folder on nltk.data.path.") from error
    return Lexicon(LexiconBuilder(read_wordnet(folder), [], keep_all_words=True).build())
