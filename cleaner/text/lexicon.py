"""The lexicon: an excerpt of WordNet 3.0 for common words (assets/lexicon/LICENSE)."""

import gzip
import json
import re
from functools import cache, lru_cache
from typing import Any

from cleaner.files import shipped_assets
from cleaner.text import forms, kinds
from cleaner.text.tables import split_words
from cleaner.types import CleanerError

LEXICON_PATH = shipped_assets() / "lexicon" / "lexicon.json.gz"
CONCRETE_CLASSES = frozenset(split_words("animal artifact body food object plant"))
"""Classes of things one can point at; replacing one of these makes the clearest counterfactual."""


class Lexicon:
    """Counts, classes, sisters, synonyms, antonyms and the hypernym graph of common English words.

    `tables`: the result of `LexiconBuilder.build` in benchmarks/lexicon/build.py.
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

    def __contains__(self, word: str) -> bool:
        return word in self._counts or word in self._nouns

    @cache
    def count(self, pos: str, word: str | None) -> int:
        """Return how often SemCor has `word` as "n", "v", "a" or "r", plus one; 0 if it is none in WordNet."""
        if not word:
            return 0
        entry = self._counts.get(word) or f"{int(word in self._nouns)} 0 0 0"
        return int(entry.split()["nvar".index(pos)])

    @cache
    def noun_lemma(self, form: str) -> str | None:
        """Return the singular of the noun `form`, or None if the lexicon does not know it."""
        stem = form[:-2] if form.endswith("es") else ""
        candidates = (self._forms["n"].get(form), forms.singularize(form), form, stem)
        return next((lemma for lemma in candidates if lemma in self._nouns), None)

    @cache
    def verb_lemma(self, form: str) -> str | None:
        """Return the infinitive of the verb `form`, or None if the lexicon does not know it."""
        irregular = self._forms["v"].get(form, "")
        american = re.sub(r"is(e|es|ed|ing)$", r"iz\1", form)
        candidates = (irregular, *forms.verb_lemmas(form), *forms.verb_lemmas(american))
        return next((lemma for lemma in candidates if lemma in self._verbs), None)

    def noun_class(self, noun: str) -> str | None:
        """Return WordNet's class of the most likely sense ("animal", "artifact", "time"), or None."""
        entry = self._nouns.get(noun)
        return entry.partition(";")[0] if entry else None

    def is_person(self, noun: str) -> bool:
        """Return whether `noun` is a person, or the role of one."""
        return noun in kinds.PERSONS or self.noun_class(noun) == "person"

    def is_animate(self, noun: str, *, if_unknown: bool) -> bool:
        """Return whether `noun` is, or may be, a person or an animal; `if_unknown` for a noun without a class."""
        kind = self.noun_class(noun)
        return noun in kinds.PERSONS or kind in ("person", "animal", "group", "top") or (if_unknown and kind is None)

    @cache
    def is_hyponym(self, noun: str, hypernym: str) -> bool:
        """Return whether `noun` is a kind of `hypernym`, each in its most likely sense."""
        other = self._senses(hypernym)[:1]
        return bool(other) and other[0] in self._with_hypernyms(self._senses(noun)[:1])

    def is_participle(self, word: str) -> bool:
        """Return whether a word in -ing is hardly ever a noun: "looking", but not "painting"."""
        if not word.endswith("ing") or self.noun_class(word) in CONCRETE_CLASSES:
            return False
        return self.count("v", self.verb_lemma(word)) > 20 * self.count("n", word)

    def is_mostly_verb(self, form: str) -> bool:
        """Return whether a word is more often a form of a verb than a noun: "see", "built", but not "puppy"."""
        return self.count("v", self.verb_lemma(form)) > self.count("n", self.noun_lemma(form))

    def compound_type(self, first: str, second: str) -> str | None:
        """Return "kind" for a kind of `second` ("polar bear"), "own" for "hot dog", None for no noun."""
        return self._compounds.get(f"{first} {second}")

    def sisters(self, noun: str) -> list[str]:
        """Return co-hyponyms, the most common and closest first; some may be too close to exclude it."""
        return self._nouns.get(noun, ";;").split(";")[2].split()

    def synonyms(self, pos: str, word: str) -> list[str]:
        """Return synonyms of `word` as "n", "v", "a" or "r" in its most likely sense."""
        return self._synonyms[pos].get(word, "").split()

    def antonyms(self, adjective: str) -> list[str]:
        """Return direct antonyms of an adjective."""
        return self._adjectives.get(adjective, ";").split(";")[1].split()

    def are_similar_adjectives(self, first: str, second: str) -> bool:
        """Return whether two adjectives belong to one cluster of meaning."""
        one, other = (self._adjectives.get(w, ";").split(";")[0].split() for w in (first, second))
        return second in one or first in other

    @cache
    def are_exclusive(self, first: str, second: str) -> bool:
        """Return whether a `first` is never a `second`: no synonym, hypernym or look-alike in any sense."""
        if first.endswith(second) or second.endswith(first):
            return False
        if self._confusable_groups.get(first, frozenset()) & self._confusable_groups.get(second, frozenset()):
            return False
        if second in self._gloss_related.get(first, "").split() or first in self._gloss_related.get(second, "").split():
            return False
        are_disjoint = self._hypernym_closure(second).isdisjoint(self._senses(first))
        return are_disjoint and self._hypernym_closure(first).isdisjoint(self._senses(second))

    def _senses(self, noun: str) -> list[str]:
        """Return the synsets of a noun, the most likely sense first."""
        return self._nouns.get(noun, ";;").split(";")[1].split()

    @cache
    def _hypernym_closure(self, noun: str) -> frozenset[str]:
        """Return the synsets of all senses of `noun` and their hypernyms."""
        return self._with_hypernyms(self._senses(noun))

    def _with_hypernyms(self, synsets: list[str]) -> frozenset[str]:
        """Return the synsets and all their hypernyms."""
        closure: set[str] = set()
        frontier = list(synsets)
        while frontier:
            synset = frontier.pop()
            if synset not in closure:
                closure.add(synset)
                frontier.extend(self._parents[int(synset)].split())
        return frozenset(closure)


@lru_cache(maxsize=1)
def load_lexicon() -> Lexicon:
    """Return the shipped lexicon; raises `CleanerError` if its file is missing."""
    if not LEXICON_PATH.is_file():
        raise CleanerError(f"The lexicon is missing: restore {LEXICON_PATH}, or install TA-Cleaner Lab again.")
    with gzip.open(LEXICON_PATH) as file:
        return Lexicon(json.load(file))
