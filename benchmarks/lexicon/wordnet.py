"""Reader of WordNet 3.0's files: data.*, index.*, *.exc and cntlist.rev.

Formats: wndb(5WN), senseidx(5WN). nltk's reader needs `lexnames` and `index.sense` too, which Debian's `wordnet-base`
lacks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cleaner.text.tables import split_words
from cleaner.types import CleanerError

POS_FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
_SENSE_TYPES = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
# Names of the lexicographer files 3 to 28, lexnames(5WN).
_CLASS_NAMES = (
    "top act animal artifact attribute body cognition communication event feeling food group location motive object"
    " person phenomenon plant possession process quantity relation shape state substance time"
)
NOUN_CLASSES = dict(enumerate(split_words(_CLASS_NAMES), start=3))


@dataclass(frozen=True, slots=True)
class Synset:
    """One set of synonyms; `id`, `hypernyms` and `similar` (an adjective's cluster) are file offsets."""

    id: int
    lexicographer_file: int
    words: tuple[str, ...]
    hypernyms: tuple[int, ...]
    similar: tuple[int, ...]
    is_proper_name: bool
    gloss: str


@dataclass(slots=True)
class WordNet:
    """WordNet in memory. Keys are (part of speech, lower-case lemma with blanks); ids are file offsets."""

    synsets: dict[tuple[str, int], Synset] = field(default_factory=dict)
    senses: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    counts: dict[tuple[str, str], dict[int, int]] = field(default_factory=dict)
    antonyms: dict[tuple[str, str], list[tuple[int, int]]] = field(default_factory=dict)
    """Direct antonyms as (synset, number of the word in it, from 1)."""
    exceptions: dict[tuple[str, str], str] = field(default_factory=dict)
    capitalized: set[str] = field(default_factory=set)
    """Words written with a capital: names, Latin genera."""

    def count(self, pos: str, lemma: str) -> int:
        """Return how often SemCor has `lemma` as `pos`, over all senses."""
        return sum(self.counts.get((pos, lemma), {}).values())

    def noun_sense_count(self, noun: str, number: int) -> int:
        """Return how often SemCor has sense `number` (1, 2, ...) of a noun."""
        return self.counts.get(("n", noun), {}).get(number, 0)

    def hypernym_distances(self, pos: str, offset: int) -> dict[int, int]:
        """Return hypernym id -> steps up from synset `offset`, itself at 0."""
        distances, queue = {offset: 0}, deque([offset])
        while queue:
            current = queue.popleft()
            for hypernym in self.synsets[pos, current].hypernyms:
                if hypernym not in distances:
                    distances[hypernym] = distances[current] + 1
                    queue.append(hypernym)
        return distances


def read_wordnet(folder: Path) -> WordNet:
    """Read WordNet 3.0 from `folder`; raise `CleanerError` if a file is missing."""
    missing = [f"data.{name}" for name in POS_FILES.values() if not (folder / f"data.{name}").is_file()]
    if missing:
        raise CleanerError(
            f"{folder} is not a WordNet folder: {missing[0]} is missing (Debian: apt-get install wordnet-base)."
        )
    net = WordNet()
    for pos, name in POS_FILES.items():
        for synset in _read_synsets(folder / f"data.{name}", pos, net):
            net.synsets[pos, synset.id] = synset
        for line in _read_lines(folder / f"index.{name}"):
            fields = line.split()
            # lemma pos synset_cnt p_cnt [ptr_symbol...] sense_cnt tagsense_cnt offset...
            offsets = fields[6 + int(fields[3]) :]
            net.senses[pos, _normalize(fields[0])] = [int(o) for o in offsets]
        for line in _read_lines(folder / f"{name}.exc"):
            form, *lemmas = line.split()
            if lemmas:
                net.exceptions[pos, _normalize(form)] = _normalize(lemmas[0])
    for line in _read_lines(folder / "cntlist.rev"):
        key, number, count = line.split()
        lemma, _, rest = key.partition("%")
        net.counts.setdefault((_SENSE_TYPES[rest[0]], _normalize(lemma)), {})[int(number)] = int(count)
    return net


def _read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a WordNet file without its license header, which is indented."""
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as lines:
            yield from (line.rstrip() for line in lines if line.strip() and not line.startswith("  "))


def _normalize(word: str) -> str:
    return word.lower().replace("_", " ").partition("(")[0]


def _read_synsets(path: Path, pos: str, net: WordNet) -> Iterator[Synset]:
    """Yield the synsets of a data file; add its antonyms and capitalized nouns to `net`."""
    for line in _read_lines(path):
        head, _, gloss = line.partition(" | ")
        fields = head.split()
        words_end = 4 + 2 * int(fields[3], 16)
        words = tuple(_normalize(word) for word in fields[4:words_end:2])
        net.capitalized.update(_normalize(word) for word in fields[4:words_end:2] if not word.islower())
        pointers = [fields[i : i + 4] for i in range(words_end + 1, words_end + 1 + 4 * int(fields[words_end]), 4)]
        for symbol, offset, _, link in pointers:
            if symbol == "!":
                word = words[int(link[:2], 16) - 1]
                net.antonyms.setdefault((pos, word), []).append((int(offset), int(link[2:], 16)))
        yield Synset(
            int(fields[0]),
            int(fields[1]),
            words,
            hypernyms=tuple(int(p[1]) for p in pointers if p[0] in ("@", "@i")),
            similar=tuple(int(p[1]) for p in pointers if p[0] == "&"),
            is_proper_name=any(p[0] == "@i" for p in pointers),
            gloss=gloss.partition(";")[0].strip(),
        )


def find_antonyms(net: WordNet, pos: str, word: str) -> list[str]:
    """Return the direct antonyms of `word`."""
    return [net.synsets[pos, offset].words[number - 1] for offset, number in net.antonyms.get((pos, word), [])]
