"""Builds assets/lexicon/lexicon.json.gz from WordNet 3.0: `python -m cleaner.text.build_lexicon --help`.

The words kept are those that captions use or that SemCor's annotators met; their counts in captions are facts of
frequency and the only thing that is taken from the caption file.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cleaner.files import shipped_assets
from cleaner.text.kinds import split_words
from cleaner.text.wordnet import NOUN_CLASSES, Synset, WordNet, find_antonyms, read_wordnet

POS = "nvar"
SenseLookup = Callable[[str], Synset | None]
Predicate = Callable[[str], bool]
# Things that can be seen; a caption means them more often than SemCor does.
VISIBLE_CLASSES = frozenset(split_words("animal artifact body food object person plant substance top"))
MAX_SISTERS = 12
# Words whose everyday meaning SemCor did not meet often enough: the class that captions mean.
CAPTION_CLASS = {
    noun: file
    for file, nouns in {
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
_WORD = re.compile(r"[a-z]{2,}(?:-[a-z]+)?")
_PAIR = re.compile(r"\ban? [a-z]{2,}(?= (?:of|in|on|at|with|for|to|by|from|and|is|near|that|,|\.)|$)")
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
    found = [form] if (pos, form) in net.senses else []
    for ending, base in _SUFFIXES[pos]:
        stem = form[: len(form) - len(ending)] + base
        doubled = ending in ("ed", "ing") and len(stem) > 3 and stem[-1] == stem[-2] and (pos, stem) not in net.senses
        stem = stem[:-1] if doubled else stem
        if form.endswith(ending) and (pos, stem) in net.senses and stem not in found:
            found.append(stem)
    return found


def load_tagger_lexicon() -> dict[str, str]:
    """Return word -> tag of the tagger: a word it takes for an adjective is not put where a noun stood."""
    from textblob.en import lexicon

    lexicon.load()
    return dict(lexicon)


class LexiconBuilder:
    """Chooses words, senses and sisters; `build()` returns the lexicon as plain JSON values."""

    def __init__(self, net: WordNet, captions: Iterable[str], keep_all_words: bool = False) -> None:
        self.net = net
        self.keep_all_words = keep_all_words
        self.word_tags = load_tagger_lexicon()
        self.caption_counts: Counter[tuple[str, str]] = Counter()
        self.countable: set[str] = set()
        captions = list(captions)
        pairs = {pair for caption in captions for pair in _PAIR.findall(caption.lower())}
        forms = Counter(word for caption in captions for word in _WORD.findall(caption.lower()))
        for form, count in forms.items():
            for pos in POS:
                for lemma in lemmatize(net, pos, form):
                    self.caption_counts[pos, lemma] += count
                    if pos == "n" and (lemma != form or f"a {form}" in pairs or f"an {form}" in pairs):
                        self.countable.add(lemma)
        self._primary_senses: dict[str, Synset | None] = {}
        self.children: dict[int, list[int]] = defaultdict(list)
        for (pos, offset), synset in net.synsets.items():
            if pos == "n":
                for parent in synset.hypernyms:
                    self.children[parent].append(offset)

    def weight(self, pos: str, lemma: str) -> float:
        """Return how common a word is: captions count tenfold, since they are few."""
        return self.net.count(pos, lemma) + 10 * self.caption_counts[pos, lemma]

    def find_rare_nouns(self, common: Iterable[str]) -> list[str]:
        """Return nouns of visible things that are too rare to be drawn, but may stand in a caption ("brolly")."""
        known = set(common)
        return sorted(
            noun
            for pos, noun in self.net.senses
            if pos == "n"
            and noun not in known
            and noun not in self.net.capitalized
            and len(noun) > 2
            and _WORD.fullmatch(noun)
            and self.primary_sense(noun) is not None
            and self._is_visible(noun)
        )

    def select_common_words(self, pos: str) -> list[str]:
        """Return the words of a part of speech that the lexicon keeps, the commonest first."""
        least = {"n": 2, "v": 3, "a": 2, "r": 3}[pos]
        kept = []
        for p, lemma in self.net.senses:
            if p != pos or not _WORD.fullmatch(lemma) or (pos == "n" and self.primary_sense(lemma) is None):
                continue
            weight = self.weight(pos, lemma)
            if self.keep_all_words or weight >= least or (weight and pos == "n" and self._is_visible(lemma)):
                kept.append(lemma)
        return sorted(kept, key=lambda w: (-self.weight(pos, w), w))

    def _is_visible(self, noun: str) -> bool:
        primary = self.primary_sense(noun)
        return primary is not None and NOUN_CLASSES[primary.lexicographer_file] in VISIBLE_CLASSES

    def common_noun_synsets(self, noun: str) -> list[Synset]:
        """Return the senses of a noun that are no proper names."""
        synsets = (self.net.synsets["n", offset] for offset in self.net.senses["n", noun])
        return [s for s in synsets if not s.is_proper_name]

    def _attested_senses(self, noun: str) -> list[int]:
        """Return the senses that SemCor met and the first ones: "dog" for a person would make a dog a person."""
        kept, counted = [], self.net.count("n", noun) > 1
        for number, offset in enumerate(self.net.senses["n", noun], 1):
            met = self.net.sense_count("n", noun, number) or number == 1 or (number == 2 and not counted)
            if met and not self.net.synsets["n", offset].is_proper_name:
                kept.append(offset)
        return kept

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
            file = NOUN_CLASSES[synset.lexicographer_file]
            prior = (self.net.sense_count("n", noun, number) + 1) / (self.net.count("n", noun) + 4) / number**0.5
            company = math.log1p(sum(self._caption_frequency(w, i) for w, i in self._sister_words(synset) if w != noun))
            score = prior * (2.0 if file in VISIBLE_CLASSES else 1.0) * (1 + company)
            # Fruit and vegetables grow on plants of the same name, and captions show the food.
            score *= 2.0 if file == "food" else 0.5 if file in ("plant", "quantity") else 1.0
            score *= 1000 if CAPTION_CLASS.get(noun) == file else 1
            if score > best_score:
                best, best_score = synset, score
        return best

    def _sister_words(self, synset: Synset) -> list[tuple[str, int]]:
        """Return the sisters of a sense as (word, synset id)."""
        children = (child for parent in synset.hypernyms for child in self.children[parent])
        return [(word, child) for child in children for word in self.net.synsets["n", child].words]

    def _caption_frequency(self, noun: str, offset: int) -> float:
        """Return how often captions hold `noun`, less if the sense is not among its first."""
        seen = self.caption_counts["n", noun]
        return seen / (1 + self.net.senses["n", noun].index(offset)) ** 2 if seen else 0.0

    def hypernym_distances(self, pos: str, offset: int) -> dict[int, int]:
        """Return hypernym id -> steps up, `offset` itself at 0."""
        found, edge = {offset: 0}, [offset]
        while edge:
            step = found[edge[0]] + 1
            current = edge.pop(0)
            for parent in self.net.synsets[pos, current].hypernyms:
                if parent not in found:
                    found[parent] = step if step <= found[current] + 1 else found[current] + 1
                    edge.append(parent)
        return found

    def find_sisters(
        self, pos: str, kept: list[str], sense_of: SenseLookup, is_candidate: Predicate
    ) -> dict[str, list[str]]:
        """Return for each word those whose main senses share a parent (or a grandparent), the commonest first."""
        under: dict[int, list[tuple[int, str, float]]] = defaultdict(list)
        breadth: Counter[int] = Counter()
        up: dict[str, dict[int, int]] = {}
        for word in kept:
            synset = sense_of(word)
            if synset is not None:
                up[word] = {i: d for i, d in self.hypernym_distances(pos, synset.id).items() if 0 < d <= 3}
                breadth.update(up[word].keys())
                if is_candidate(word):
                    weight = math.log1p(self.weight(pos, word))
                    for ancestor, steps in up[word].items():
                        under[ancestor].append((steps, word, weight))
        result: dict[str, list[str]] = {}
        for word, ancestors in up.items():
            scores: dict[str, float] = {}
            for ancestor, steps in ancestors.items():
                if breadth[ancestor] > 400:
                    continue
                for other_steps, other, weight in under[ancestor]:
                    scores[other] = max(scores.get(other, 0.0), weight / (steps + other_steps) ** 2)
            scores.pop(word, None)
            result[word] = sorted(scores, key=lambda w: (-scores[w], w))[:MAX_SISTERS]
        return result

    def build(self) -> dict[str, Any]:
        """Return the lexicon: words with counts, senses, hypernyms, sisters, synonyms, opposites, odd forms.

        Values are strings with fields parted by ";" and blanks: Python's garbage collector never walks through them.
        """
        common = {pos: self.select_common_words(pos) for pos in POS}
        rare = self.find_rare_nouns(common["n"])
        synsets: dict[str, dict[int, None]] = {"n": {}, "v": {}}
        for pos in "nv":
            for word in [*common[pos], *(rare if pos == "n" else ())]:
                for offset in self.net.senses[pos, word]:
                    if not self.net.synsets[pos, offset].is_proper_name:
                        synsets[pos].update(dict.fromkeys(self.hypernym_distances(pos, offset)))
        number = {pos: {offset: i for i, offset in enumerate(synsets[pos])} for pos in "nv"}
        noun_sisters = self.find_sisters("n", common["n"], self.primary_sense, self._is_plain_noun)
        verb_sisters = self.find_sisters("v", common["v"], self._first_verb, lambda w: self.net.count("v", w) >= 10)
        nouns = {}
        for word in [*common["n"], *rare]:
            primary = self.primary_sense(word)
            assert primary is not None
            senses = [primary.id, *(i for i in self._attested_senses(word) if i != primary.id)]
            ids = _numbers(number["n"][i] for i in senses)
            nouns[word] = f"{NOUN_CLASSES[primary.lexicographer_file]};{ids};{' '.join(noun_sisters.get(word, ()))}"
        verbs = {}
        for word in common["v"]:
            ids = _numbers(number["v"][i] for i in self.net.senses["v", word])
            verbs[word] = f"{ids};{' '.join(verb_sisters.get(word, ()))}"
        adjectives = set(common["a"])
        every = {word for kept in common.values() for word in kept}
        return {
            "counts": {
                word: _numbers(self.net.count(p, word) + ((p, word) in self.net.senses) for p in POS)
                for word in sorted(every, key=lambda w: (-sum(self.weight(p, w) for p in POS), w))
            },
            "nouns": nouns,
            "noun_parents": self._parents("n", number["n"]),
            "verbs": verbs,
            "verb_parents": self._parents("v", number["v"]),
            "adjectives": {word: self._adjective(word, adjectives) for word in common["a"]},
            **{f"synonyms_{pos}": self._synonyms(pos, common[pos]) for pos in POS},
            "countable": " ".join(word for word in common["n"] if word in self.countable),
            "near": self._gloss_related(common["n"]),
            "compounds": self._compounds(set(common["n"]) | adjectives),
            **{f"forms_{pos}": self._irregular_forms(pos, set(common[pos])) for pos in "nv"},
        }

    def _first_verb(self, verb: str) -> Synset:
        return self.net.synsets["v", self.net.senses["v", verb][0]]

    def _is_plain_noun(self, noun: str) -> bool:
        """Return whether a word is mostly a noun, in the sense chosen, and in use: fit to be put into a caption."""
        primary = self.primary_sense(noun)
        assert primary is not None
        other = sum(self.net.count(p, noun) for p in "var")
        first = self.net.senses["n", noun].index(primary.id) < 2 or noun in CAPTION_CLASS
        tag = self.word_tags.get(noun, "NN")
        return first and tag == "NN" and self.net.count("n", noun) >= other and self.weight("n", noun) >= 3

    def _parents(self, pos: str, number: dict[int, int]) -> list[str]:
        return [_numbers(number[p] for p in self.net.synsets[pos, offset].hypernyms) for offset in number]

    def _adjective(self, word: str, kept: set[str]) -> str:
        """Return words of the same cluster, and direct antonyms."""
        synsets = [self.net.synsets["a", o] for o in self.net.senses["a", word]]
        same = {w for s in synsets for w in s.words} | {
            w for s in synsets for i in s.similar for w in self.net.synsets["a", i].words
        }
        opposites = [w for w in find_antonyms(self.net, "a", word) if w in kept]
        opposites = list(dict.fromkeys(w for w in opposites if w not in same))
        return f"{' '.join(sorted((same & kept) - {word}))};{' '.join(opposites)}"

    def _synonyms(self, pos: str, kept: list[str]) -> dict[str, str]:
        """Return the common synonyms in the likeliest sense, as EDA needs them."""
        allowed = set(kept)
        found = {}
        for word in kept:
            first = self.primary_sense(word) if pos == "n" else self.net.synsets[pos, self.net.senses[pos, word][0]]
            same = [w for w in (first.words if first else ()) if w != word and w in allowed]
            if same:
                found[word] = " ".join(same)
        return found

    def _gloss_related(self, nouns: list[str]) -> dict[str, str]:
        """Return nouns defined by another of their class: a kitten is a "young domestic cat"."""
        allowed = set(nouns)
        near: dict[str, list[str]] = {}
        for noun in nouns:
            synset = self.primary_sense(noun)
            assert synset is not None
            for word in _WORD.findall(synset.gloss.lower())[:7]:
                for lemma in lemmatize(self.net, "n", word):
                    other = self.primary_sense(lemma) if lemma in allowed and lemma != noun else None
                    if other is not None and other.lexicographer_file == synset.lexicographer_file:
                        near.setdefault(noun, []).append(lemma)
        return {noun: " ".join(dict.fromkeys(words)) for noun, words in near.items()}

    def _compounds(self, allowed: set[str]) -> dict[str, str]:
        """Return two-word nouns: "kind" if the last word names the kind ("polar bear"), else "own" ("hot dog")."""
        found = {}
        for pos, lemma in self.net.senses:
            parts = lemma.split()
            if (
                pos != "n"
                or len(parts) != 2
                or not self.common_noun_synsets(lemma)
                or not all(w in allowed for w in parts)
            ):
                continue
            if not all(self.caption_counts["n", w] or self.caption_counts["a", w] for w in parts):
                continue
            main = self.common_noun_synsets(lemma)[0]
            above = {w for i in self.hypernym_distances("n", main.id) for w in self.net.synsets["n", i].words}
            found[lemma] = "kind" if parts[1] in above else "own"
        return found

    def _irregular_forms(self, pos: str, kept: set[str]) -> dict[str, str]:
        """Return irregular form -> lemma."""
        odd = sorted((f, w) for (p, f), w in self.net.exceptions.items() if p == pos and f != w)
        return {f: w for f, w in odd if w in kept and " " not in f}


def _numbers(values: Iterable[int]) -> str:
    return " ".join(map(str, values))


def write_lexicon(lexicon: dict[str, Any], path: Path) -> None:
    """Write the lexicon as gzipped JSON, byte for byte the same for the same input."""
    text = json.dumps(lexicon, separators=(",", ":"), sort_keys=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=9) as out:
        out.write(text.encode())


def main() -> None:
    """Build the lexicon from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="folder of WordNet 3.0")
    parser.add_argument("--captions", type=Path, help="CSV with a column `caption`; only word counts are taken from it")
    parser.add_argument("--out", type=Path, default=shipped_assets() / "lexicon" / "lexicon.json.gz")
    args = parser.parse_args()
    captions: list[str] = []
    if args.captions:
        with args.captions.open(encoding="utf-8", newline="") as file:
            captions = [row["caption"] for row in csv.DictReader(file)]
    write_lexicon(LexiconBuilder(read_wordnet(args.wordnet), captions).build(), args.out)


if __name__ == "__main__":
    main()
