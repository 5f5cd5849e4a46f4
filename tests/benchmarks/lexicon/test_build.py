"""The builder of the lexicon, on a few synsets."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.lexicon.build import LexiconBuilder
from benchmarks.lexicon.wordnet import NOUN_CLASSES, Synset, WordNet, read_wordnet
from cleaner.types import CleanerError


def test_a_compound_of_captioned_words_is_a_kind_of_its_last_word_or_its_own() -> None:
    names = {1: "animal", 2: "bear", 3: "polar bear", 4: "hot dog"}
    above = {2: (1,), 3: (2,)}
    animal = next(number for number, name in NOUN_CLASSES.items() if name == "animal")
    synsets = {("n", i): Synset(i, animal, (name,), above.get(i, ()), (), False, "") for i, name in names.items()}
    senses = {("n", name): [i] for i, name in names.items()} | {("a", word): [9] for word in ("polar", "hot")}
    synsets["a", 9] = Synset(9, 0, ("polar", "hot"), (), (), False, "")
    senses["n", "dog"] = [1]
    net = WordNet(synsets, senses)
    captions = ["a hot dog", "a polar bear"]
    assert LexiconBuilder(net, captions).build()["compounds"] == {"polar bear": "kind", "hot dog": "own"}
    assert LexiconBuilder(net, captions[:1]).build()["compounds"] == {"hot dog": "own"}


def test_a_folder_without_wordnet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CleanerError, match=r"data\.noun is missing"):
        read_wordnet(tmp_path)
