"""Word frequencies in SemCor and captions, and the sense of a noun that captions most likely mean."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from benchmarks.lexicon.wordnet import NOUN_CLASSES, Synset, WordNet
from cleaner.text.tables import split_words

POS = "nvar"
VISIBLE_CLASSES = frozenset(split_words("animal artifact body food object person plant substance top"))
"""Classes of visible things, which captions mean more often than SemCor does."""
# Words whose everyday meaning SemCor has too rarely: the class that captions mean.
CAPTION_CLASS = {
    noun: noun_class
    for noun_class, nouns in {
        "artifact": "mug table glass bank doll crane net tie bow trunk watch bar board case stand key lock",
        "animal": "fish snail chicken duck turkey lamb rabbit shell cow goat",
        "plant": "plant seed palm",
        "event": "match",
        "communication": "letter",
        "food": "lime lemon olive cherry peach plum",
        "group": "band",
        "body": "body",
        "object": "star moon",
    }.items()
    for noun in split_words(nouns)
}
WORD = re.compile(r"[a-z]{2,}(?:-[a-z]+)?")
_COUNTABLE_PHRASE = re.compile(r"\ban? [a-z]{2,}(?= (?:of|in|on|at|with|for|to|by|from|and|is|near|that|,|\.)|$)")
_SUFFIXES = {
    "n": (("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("ies", "y")),
    "v": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "a": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "r": (),
}


def lemmatize(net: WordNet, pos: str, form: str) -> list[str]:
    """Return the base forms of `form` that WordNet knows as `pos` (the rules of morphy(7WN))."""
    if (pos, form) in net.exceptions:
        return [net.exceptions[pos, form]]
    lemmas = [form] if (pos, form) in net.senses else []
    for ending, base in _SUFFIXES[pos]:
        stem = form[: len(form) - len(ending)] + base
        is_doubled = ending in ("ed", "ing") and len(stem) > 3 and stem[-1] == stem[-2]
        stem = stem[:-1] if is_doubled and (pos, stem) not in net.senses else stem
        if form.endswith(ending) and (pos, stem) in net.senses and stem not in lemmas:
            lemmas.append(stem)
    return lemmas


class SenseRanker:
    """Counts of words in captions and SemCor, and the sense of each noun that follows from them."""

    def __init__(self, net: WordNet, captions: Iterable[str]) -> None:
        self.net = net
        self.caption_counts: Counter[tuple[str, str]] = Counter()
        self.countable: set[str] = set()
        """Nouns that captions have in the plural or after "a" or "an"."""
        self._count_captions(list(captions))
        self._primary_senses: dict[str, Synset | None] = {}
        self._hyponyms: dict[int, list[int]] = defaultdict(list)
        for (pos, offset), synset in net.synsets.items():
            if pos == "n":
                for hypernym in synset.hypernyms:
                    self._hyponyms[hypernym].append(offset)

    def _count_captions(self, captions: list[str]) -> None:
        phrases = {phrase for caption in captions for phrase in _COUNTABLE_PHRASE.findall(caption.lower())}
        forms = Counter(word for caption in captions for word in WORD.findall(caption.lower()))
        for form, count in forms.items():
            for pos in POS:
                for lemma in lemmatize(self.net, pos, form):
                    self.caption_counts[pos, lemma] += count
                    if pos == "n" and (lemma != form or f"a {form}" in phrases or f"an {form}" in phrases):
                        self.countable.add(lemma)

    def weight(self, pos: str, lemma: str) -> float:
        """Return how common a word is; captions count tenfold, because they are few."""
        return self.net.count(pos, lemma) + 10 * self.caption_counts[pos, lemma]

    def is_visible(self, noun: str) -> bool:
        """Return whether a noun in its primary sense is a visible thing."""
        primary = self.primary_sense(noun)
        return primary is not None and NOUN_CLASSES[primary.lexicographer_file] in VISIBLE_CLASSES

    def common_noun_synsets(self, noun: str) -> list[Synset]:
        """Return the senses of a noun that are not proper names."""
        synsets = (self.net.synsets["n", offset] for offset in self.net.senses["n", noun])
        return [s for s in synsets if not s.is_proper_name]

    def attested_senses(self, noun: str) -> list[int]:
        """Return the senses that SemCor has, and the first ones: "dog" for a person would make a dog a person."""
        attested, is_counted = [], self.net.count("n", noun) > 1
        for number, offset in enumerate(self.net.senses["n", noun], 1):
            is_first = number == 1 or (number == 2 and not is_counted)
            is_attested = self.net.noun_sense_count(noun, number) or is_first
            if is_attested and not self.net.synsets["n", offset].is_proper_name:
                attested.append(offset)
        return attested

    def primary_sense(self, noun: str) -> Synset | None:
        """Return the sense that captions most likely mean: often annotated, visible, with common sisters."""
        if noun not in self._primary_senses:
            self._primary_senses[noun] = self._choose_primary_sense(noun)
        return self._primary_senses[noun]

    def _choose_primary_sense(self, noun: str) -> Synset | None:
        best, best_score = None, -1.0
        for number, offset in enumerate(self.net.senses["n", noun], 1):
            synset = self.net.synsets["n", offset]
            if synset.is_proper_name:
                continue
            noun_class = NOUN_CLASSES[synset.lexicographer_file]
            prior = (self.net.noun_sense_count(noun, number) + 1) / (self.net.count("n", noun) + 4) / number**0.5
            sisters = math.log1p(sum(self._caption_frequency(w, i) for w, i in self._sister_words(synset) if w != noun))
            score = prior * (2.0 if noun_class in VISIBLE_CLASSES else 1.0) * (1 + sisters)
            # Fruit and vegetables grow on plants of the same name, and captions show the food.
            score *= 2.0 if noun_class == "food" else 0.5 if noun_class in ("plant", "quantity") else 1.0
            score *= 1000 if CAPTION_CLASS.get(noun) == noun_class else 1
            if score > best_score:
                best, best_score = synset, score
        return best

    def _sister_words(self, synset: Synset) -> list[tuple[str, int]]:
        """Return the sisters of a sense as (word, synset id)."""
        sisters = (hyponym for hypernym in synset.hypernyms for hyponym in self._hyponyms[hypernym])
        return [(word, sister) for sister in sisters for word in self.net.synsets["n", sister].words]

    def _caption_frequency(self, noun: str, offset: int) -> float:
        """Return how often captions have `noun`, less if the sense is not among its first."""
        count = self.caption_counts["n", noun]
        return count / (1 + self.net.senses["n", noun].index(offset)) ** 2 if count else 0.0
