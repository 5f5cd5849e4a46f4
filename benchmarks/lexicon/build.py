"""Build assets/lexicon/lexicon.json.gz from WordNet 3.0 (`python -m benchmarks.lexicon.build`).

Keeps the words that captions use or that SemCor has. Captions contribute word counts only; those of the shipped file
come from 5,000 captions of Conceptual Captions (`--captions`).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.lexicon.senses import CAPTION_CLASS, POS, WORD, SenseRanker, lemmatize
from benchmarks.lexicon.wordnet import NOUN_CLASSES, Synset, WordNet, find_antonyms, read_wordnet
from cleaner.files import shipped_assets

SenseLookup = Callable[[str], Synset | None]
Predicate = Callable[[str], bool]
MAX_SISTERS = 12
MAX_FAMILY = 400
"""A hypernym of more words than this is too general to make them sisters."""


def load_tagger_lexicon() -> dict[str, str]:
    """Return word -> tag of textblob's tagger; only words that it tags as nouns replace nouns."""
    from textblob.en import lexicon

    lexicon.load()
    return dict(lexicon)


class LexiconBuilder:
    """Selects words, senses and sisters; `build` returns the lexicon as JSON values."""

    def __init__(self, net: WordNet, captions: Iterable[str]) -> None:
        self.net = net
        self.ranker = SenseRanker(net, captions)
        self.word_tags = load_tagger_lexicon()

    def find_rare_nouns(self, common: Iterable[str]) -> list[str]:
        """Return nouns of visible things that are too rare to be drawn, but may occur in a caption ("brolly")."""
        excluded = set(common) | self.net.capitalized
        return sorted(
            noun
            for pos, noun in self.net.senses
            if pos == "n"
            and noun not in excluded
            and len(noun) > 2
            and WORD.fullmatch(noun)
            and self.ranker.primary_sense(noun) is not None
            and self.ranker.is_visible(noun)
        )

    def select_common_words(self, pos: str) -> list[str]:
        """Return the words of a part of speech that the lexicon keeps, the most common first."""
        min_weight = {"n": 2, "v": 3, "a": 2, "r": 3}[pos]
        words = []
        for p, lemma in self.net.senses:
            if p != pos or not WORD.fullmatch(lemma) or (pos == "n" and self.ranker.primary_sense(lemma) is None):
                continue
            weight = self.ranker.weight(pos, lemma)
            if weight >= min_weight or (weight and pos == "n" and self.ranker.is_visible(lemma)):
                words.append(lemma)
        return sorted(words, key=lambda w: (-self.ranker.weight(pos, w), w))

    def find_sisters(
        self, pos: str, words: list[str], sense_of: SenseLookup, is_candidate: Predicate
    ) -> dict[str, list[str]]:
        """Return word -> words with a close common hypernym, the most common and closest first."""
        candidates: dict[int, list[tuple[int, str, float]]] = defaultdict(list)
        family_sizes: Counter[int] = Counter()
        ancestors: dict[str, dict[int, int]] = {}
        for word in words:
            synset = sense_of(word)
            if synset is None:
                continue
            distances = self.net.hypernym_distances(pos, synset.id)
            ancestors[word] = {offset: steps for offset, steps in distances.items() if 0 < steps <= 3}
            family_sizes.update(ancestors[word].keys())
            if is_candidate(word):
                weight = math.log1p(self.ranker.weight(pos, word))
                for ancestor, steps in ancestors[word].items():
                    candidates[ancestor].append((steps, word, weight))
        sisters: dict[str, list[str]] = {}
        for word, word_ancestors in ancestors.items():
            scores: dict[str, float] = {}
            for ancestor, steps in word_ancestors.items():
                if family_sizes[ancestor] > MAX_FAMILY:
                    continue
                for other_steps, other, weight in candidates[ancestor]:
                    scores[other] = max(scores.get(other, 0.0), weight / (steps + other_steps) ** 2)
            scores.pop(word, None)
            sisters[word] = sorted(scores, key=lambda w: (-scores[w], w))[:MAX_SISTERS]
        return sisters

    def build(self) -> dict[str, Any]:
        """Return the lexicon: counts, senses, hypernyms, sisters, synonyms, antonyms, irregular forms.

        Values are strings with fields separated by ";" and blanks, which Python's garbage collector need not scan.
        """
        common = {pos: self.select_common_words(pos) for pos in POS}
        rare = self.find_rare_nouns(common["n"])
        synsets: dict[str, dict[int, None]] = {"n": {}, "v": {}}
        for pos in "nv":
            for word in [*common[pos], *(rare if pos == "n" else ())]:
                for offset in self.net.senses[pos, word]:
                    if not self.net.synsets[pos, offset].is_proper_name:
                        synsets[pos].update(dict.fromkeys(self.net.hypernym_distances(pos, offset)))
        ids = {pos: {offset: i for i, offset in enumerate(synsets[pos])} for pos in "nv"}
        adjectives = set(common["a"])
        all_words = {word for words in common.values() for word in words}
        return {
            "counts": {
                word: _numbers(self.net.count(p, word) + ((p, word) in self.net.senses) for p in POS)
                for word in sorted(all_words, key=lambda w: (-sum(self.ranker.weight(p, w) for p in POS), w))
            },
            "nouns": self._nouns(common["n"], rare, ids["n"]),
            "noun_parents": self._parents("n", ids["n"]),
            "verbs": self._verbs(common["v"], ids["v"]),
            "verb_parents": self._parents("v", ids["v"]),
            "adjectives": {word: self._adjective(word, adjectives) for word in common["a"]},
            **{f"synonyms_{pos}": self._synonyms(pos, common[pos]) for pos in POS},
            "countable": " ".join(word for word in common["n"] if word in self.ranker.countable),
            "near": self._gloss_related(common["n"]),
            "compounds": self._compounds(set(common["n"]) | adjectives),
            **{f"forms_{pos}": self._irregular_forms(pos, set(common[pos])) for pos in "nv"},
        }

    def _nouns(self, common: list[str], rare: list[str], ids: dict[int, int]) -> dict[str, str]:
        """Return noun -> class; synsets, the primary one first; sisters."""
        sisters = self.find_sisters("n", common, self.ranker.primary_sense, self._is_plain_noun)
        nouns = {}
        for word in [*common, *rare]:
            primary = self.ranker.primary_sense(word)
            assert primary is not None
            senses = [primary.id, *(i for i in self.ranker.attested_senses(word) if i != primary.id)]
            synsets = _numbers(ids[i] for i in senses)
            nouns[word] = f"{NOUN_CLASSES[primary.lexicographer_file]};{synsets};{' '.join(sisters.get(word, ()))}"
        return nouns

    def _verbs(self, common: list[str], ids: dict[int, int]) -> dict[str, str]:
        """Return verb -> synsets; sisters."""
        sisters = self.find_sisters(
            "v", common, lambda w: self._first_sense("v", w), lambda w: self.net.count("v", w) >= 10
        )
        verbs = {}
        for word in common:
            synsets = _numbers(ids[i] for i in self.net.senses["v", word])
            verbs[word] = f"{synsets};{' '.join(sisters.get(word, ()))}"
        return verbs

    def _first_sense(self, pos: str, word: str) -> Synset:
        return self.net.synsets[pos, self.net.senses[pos, word][0]]

    def _is_plain_noun(self, noun: str) -> bool:
        """Return whether a word is common, mostly a noun and mostly in its primary sense: a fit replacement."""
        primary = self.ranker.primary_sense(noun)
        assert primary is not None
        other_uses = sum(self.net.count(p, noun) for p in "var")
        is_main_sense = self.net.senses["n", noun].index(primary.id) < 2 or noun in CAPTION_CLASS
        is_noun = self.word_tags.get(noun, "NN") == "NN" and self.net.count("n", noun) >= other_uses
        return is_main_sense and is_noun and self.ranker.weight("n", noun) >= 3

    def _parents(self, pos: str, ids: dict[int, int]) -> list[str]:
        """Return the hypernyms' ids of each synset."""
        return [_numbers(ids[p] for p in self.net.synsets[pos, offset].hypernyms) for offset in ids]

    def _adjective(self, word: str, adjectives: set[str]) -> str:
        """Return words of the same cluster; direct antonyms."""
        synsets = [self.net.synsets["a", o] for o in self.net.senses["a", word]]
        same = {w for s in synsets for w in s.words} | {
            w for s in synsets for i in s.similar for w in self.net.synsets["a", i].words
        }
        antonyms = [w for w in find_antonyms(self.net, "a", word) if w in adjectives and w not in same]
        return f"{' '.join(sorted((same & adjectives) - {word}))};{' '.join(dict.fromkeys(antonyms))}"

    def _synonyms(self, pos: str, words: list[str]) -> dict[str, str]:
        """Return the common synonyms of each word in its most likely sense, for EDA."""
        allowed = set(words)
        synonyms = {}
        for word in words:
            sense = self.ranker.primary_sense(word) if pos == "n" else self._first_sense(pos, word)
            same = [w for w in (sense.words if sense else ()) if w != word and w in allowed]
            if same:
                synonyms[word] = " ".join(same)
        return synonyms

    def _gloss_related(self, nouns: list[str]) -> dict[str, str]:
        """Return nouns defined by another of their class: a kitten is a "young domestic cat"."""
        allowed = set(nouns)
        related: dict[str, list[str]] = {}
        for noun in nouns:
            synset = self.ranker.primary_sense(noun)
            assert synset is not None
            for word in WORD.findall(synset.gloss.lower())[:7]:
                for lemma in lemmatize(self.net, "n", word):
                    other = self.ranker.primary_sense(lemma) if lemma in allowed and lemma != noun else None
                    if other is not None and other.lexicographer_file == synset.lexicographer_file:
                        related.setdefault(noun, []).append(lemma)
        return {noun: " ".join(dict.fromkeys(words)) for noun, words in related.items()}

    def _compounds(self, allowed: set[str]) -> dict[str, str]:
        """Return two-word noun -> "kind" if it is a kind of its last word ("polar bear"), else "own"."""
        compounds = {}
        for pos, lemma in self.net.senses:
            parts = lemma.split()
            if pos != "n" or len(parts) != 2 or not all(w in allowed for w in parts):
                continue
            synsets = self.ranker.common_noun_synsets(lemma)
            counts = self.ranker.caption_counts
            if not synsets or not all(counts["n", w] or counts["a", w] for w in parts):
                continue
            above = {w for i in self.net.hypernym_distances("n", synsets[0].id) for w in self.net.synsets["n", i].words}
            compounds[lemma] = "kind" if parts[1] in above else "own"
        return compounds

    def _irregular_forms(self, pos: str, lemmas: set[str]) -> dict[str, str]:
        """Return irregular form -> lemma."""
        forms = sorted((f, w) for (p, f), w in self.net.exceptions.items() if p == pos and f != w)
        return {f: w for f, w in forms if w in lemmas and " " not in f}


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
