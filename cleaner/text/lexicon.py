"""The shipped lexicon: what English words mean to each other, cut out of WordNet 3.0 (assets/lexicon/LICENSE)."""

from __future__ import annotations

import gzip
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from cleaner.text import forms, rules
from cleaner.types import CleanerError

PATH = Path(__file__).parents[2] / "assets" / "lexicon" / "lexicon.json.gz"
# Classes whose members one can point at; an exchange of these makes the plainest counterfactual.
CONCRETE = frozenset(rules.words("animal artifact body food object plant"))


class Lexicon:
    """Counts, classes, sisters, synonyms, opposites and the hypernym graph of common English words."""

    def __init__(self, tables: dict[str, Any]) -> None:
        self.counts: dict[str, list[int]] = tables["counts"]
        self._nouns: dict[str, list[Any]] = tables["nouns"]
        self._parents: list[list[int]] = tables["noun_parents"]
        self._verbs: dict[str, list[Any]] = tables["verbs"]
        self._verb_parents: list[list[int]] = tables["verb_parents"]
        self._adjectives: dict[str, list[list[str]]] = tables["adjectives"]
        self._synonyms: dict[str, dict[str, list[str]]] = tables["synonyms"]
        self._near = {noun: frozenset(near) for noun, near in tables["near"].items()}
        self._compounds: dict[str, list[Any]] = tables["compounds"]
        self._forms: dict[str, dict[str, str]] = tables["forms"]
        self._twins: dict[str, set[int]] = {}
        for number, group in enumerate(rules.TWINS):
            for word in group:
                self._twins.setdefault(word, set()).add(number)
        self._closures: dict[str, frozenset[int]] = {}
        self._lemmas: dict[str, str | None] = {}
        self._exclusive: dict[tuple[str, str], bool] = {}

    def __contains__(self, word: str) -> bool:
        return word in self.counts

    def noun_lemma(self, form: str) -> str | None:
        """Return the singular noun behind `form`, or None if the lexicon has none."""
        if form not in self._lemmas:
            candidates = (
                self._forms["n"].get(form),
                forms.singular(form),
                form,
                form[:-2] if form.endswith("es") else "",
            )
            self._lemmas[form] = next((c for c in candidates if c and c in self._nouns), None)
        return self._lemmas[form]

    def verb_lemma(self, form: str) -> str | None:
        """Return the infinitive behind `form`, or None if the lexicon has none."""
        if form in self._forms["v"] and self._forms["v"][form] in self._verbs:
            return self._forms["v"][form]
        return next((lemma for lemma in forms.verb_lemmas(form) if lemma in self._verbs), None)

    def noun_class(self, noun: str) -> str | None:
        """Return WordNet's class of the likeliest sense ("animal", "artifact", "time"), or None."""
        entry = self._nouns.get(noun)
        return entry[0] if entry else None

    def compound(self, first: str, second: str) -> tuple[str, bool] | None:
        """Return (class, whether it is a kind of `second`) of a two-word noun such as "ice cream", or None."""
        entry = self._compounds.get(f"{first} {second}")
        return (entry[0], bool(entry[1])) if entry else None

    def sisters(self, noun: str) -> list[str]:
        """Return co-hyponyms of a noun, the commonest and closest first; some may be too near to exclude it."""
        entry = self._nouns.get(noun)
        return entry[2] if entry else []

    def verb_sisters(self, verb: str) -> list[str]:
        """Return co-hyponyms of a verb."""
        entry = self._verbs.get(verb)
        return entry[1] if entry else []

    def synonyms(self, pos: str, word: str) -> list[str]:
        """Return synonyms of `word` as "n", "v", "a" or "r" in its likeliest sense."""
        return self._synonyms[pos].get(word, [])

    def opposites(self, adjective: str) -> list[str]:
        """Return direct antonyms of an adjective."""
        entry = self._adjectives.get(adjective)
        return entry[1] if entry else []

    def same_adjective(self, first: str, second: str) -> bool:
        """Return whether two adjectives belong to one cluster of meaning."""
        entry = self._adjectives.get(first)
        other = self._adjectives.get(second)
        return bool((entry and second in entry[0]) or (other and first in other[0]))

    def exclusive(self, first: str, second: str) -> bool:
        """Return whether a thing called `first` is certainly no `second`: no synonym, kind or near twin, in any sense."""
        key = (first, second) if first < second else (second, first)
        if key not in self._exclusive:
            self._exclusive[key] = self._excludes(*key)
        return self._exclusive[key]

    def _excludes(self, first: str, second: str) -> bool:
        if first == second or first.endswith(second) or second.endswith(first):
            return False
        if self._twins.get(first, set()) & self._twins.get(second, set()):
            return False
        if second in self._near.get(first, ()) or first in self._near.get(second, ()):
            return False
        own, other = self._senses(first), self._senses(second)
        return not (own & self._closure(second) or other & self._closure(first))

    def _senses(self, noun: str) -> frozenset[int]:
        entry = self._nouns.get(noun)
        return frozenset(entry[1]) if entry else frozenset()

    def _closure(self, noun: str) -> frozenset[int]:
        """Return all synsets that a sense of `noun` is or belongs to."""
        if noun not in self._closures:
            found: set[int] = set()
            edge = list(self._senses(noun))
            while edge:
                synset = edge.pop()
                if synset not in found:
                    found.add(synset)
                    edge.extend(self._parents[synset])
            self._closures[noun] = frozenset(found)
        return self._closures[noun]


@lru_cache(maxsize=2)
def load_lexicon(name: str = "shipped") -> Lexicon:
    """Return the shipped lexicon, or with "wordnet" all of WordNet as nltk finds it; `CleanerError` if there is none."""
    if name == "shipped":
        if not PATH.is_file():
            raise CleanerError(
                f"The lexicon is missing: put back {PATH}, or build it with python -m cleaner.text.build_lexicon."
            )
        with gzip.open(PATH) as file:
            return Lexicon(json.load(file))
    if name != "wordnet":
        raise CleanerError(f"lexicon must be 'shipped' or 'wordnet', not {name!r}.")
    import nltk

    from cleaner.text.build_lexicon import Builder
    from cleaner.text.wordnet import read_wordnet

    try:
        folder = Path(str(nltk.data.find("corpora/wordnet")))
    except LookupError as error:
        raise CleanerError("nltk finds no WordNet: put it as corpora/wordnet in a folder on nltk.data.path.") from error
    return Lexicon(Builder(read_wordnet(folder), [], every_word=True).build())
