"""EDA, content words, word forms, the lexicon."""

from __future__ import annotations

from pathlib import Path

import pytest

from cleaner.text import content_words, eda, forms
from cleaner.text import lexicon as lexicon_module
from cleaner.text.lexicon import LEXICON_PATH, load_lexicon
from cleaner.types import CleanerError
from tests.cases import read_cases

pytestmark = pytest.mark.quick

CAPTION = "a small cat sits on the old sofa near a window and looks at a bird"


def test_eda_is_deterministic_and_changes_the_caption() -> None:
    texts = [eda(CAPTION, seed) for seed in range(60)]
    assert texts == [eda(CAPTION, seed) for seed in range(60)]
    assert sum(text != CAPTION for text in texts) > 40


def test_eda_uses_all_four_operations() -> None:
    words = CAPTION.split()
    operations, swapped = set(), set()
    for seed in range(200):
        new = eda(CAPTION, seed).split()
        if len(new) != len(words):
            operations.add("insert" if len(new) > len(words) else "delete")
        elif new != words:
            is_swap = sorted(new) == sorted(words)
            operations.add("swap" if is_swap else "replace")
            if is_swap:
                swapped.add(sum(a != b for a, b in zip(new, words, strict=True)))
    assert operations == {"insert", "delete", "swap", "replace"}
    assert swapped == {2}  # a tenth of 16 words is one swap


def test_eda_changes_a_tenth_of_a_long_caption() -> None:
    words = [f"qx{i}" for i in range(40)]  # without synonyms: only swapped and deleted
    texts = [eda(" ".join(words), seed).split() for seed in range(300)]
    swapped = {sum(a != b for a, b in zip(text, words, strict=True)) for text in texts if len(text) == 40}
    assert max(swapped) == 8  # four swaps
    shortened = [len(text) for text in texts if len(text) < 40]
    assert 34 < sum(shortened) / len(shortened) < 38


def test_eda_replaces_no_stop_word() -> None:
    assert {word for seed in range(100) for word in eda("it is on", seed).split()} == {"it", "is", "on"}


@pytest.mark.parametrize("caption", ["", "cat", "😀", "the the", " "])
def test_eda_of_short_captions(caption: str) -> None:
    assert {bool(eda(caption, seed).strip()) for seed in range(20)} == {bool(caption.strip())}
    assert eda(caption, 0, alpha=0.0) == caption


def test_eda_finds_synonyms_of_words_with_punctuation_and_keeps_it() -> None:
    texts = {eda("the (bike), ... and the car.", seed) for seed in range(200)}
    assert {"the (bicycle), ... and the car.", "the (bike), ... and the automobile."} <= texts
    assert any("bicycle" in text.split() for text in texts)  # inserted


def test_content_words() -> None:
    short, caption = content_words("a banana left of a car"), content_words("two small bananas left of the red cars")
    assert short == {"banana", "left", "of", "car"}
    assert short <= caption
    assert not content_words("a photo of an apple") <= caption
    assert not content_words("a banana above a car") <= caption
    assert not content_words("a yellow banana") <= caption
    assert content_words("") == frozenset()


def test_numbers_and_verbs_are_content_words() -> None:
    for one, other in (("two cups", "three cups"), ("a dog sleeps", "a dog sits")):
        assert not content_words(one) <= content_words(other)


def test_a_negation_is_a_content_word() -> None:
    for negated, caption in (
        ("the door is not open", "the open door"),
        ("no dogs on the beach", "dogs on the beach"),
        ("a man never smiles", "a man smiles"),
    ):
        assert content_words(caption) < content_words(negated)


@pytest.mark.parametrize(("noun", "plural"), read_cases(__file__, "plurals"))
def test_pluralize_and_noun_lemma(noun: str, plural: str) -> None:
    assert forms.pluralize(noun) == plural
    assert load_lexicon().noun_lemma(plural.split()[-1]) == noun.split()[-1]


def test_verb_lemma() -> None:
    lemma = load_lexicon().verb_lemma
    assert [lemma(form) for form in ("wades", "rides", "washes", "goes")] == ["wade", "ride", "wash", "go"]


def test_pluralize_compounds() -> None:
    assert [forms.pluralize(noun) for noun in ("spokesman", "sunglasses")] == ["spokesmen", "sunglasses"]


@pytest.mark.parametrize(("verb", "tag", "form"), read_cases(__file__, "verb_forms"))
def test_conjugate(verb: str, tag: str, form: str) -> None:
    assert forms.conjugate(verb, tag) == form


@pytest.mark.parametrize(("word", "article"), read_cases(__file__, "articles"))
def test_choose_article(word: str, article: str) -> None:
    assert forms.choose_article(word) == article


def test_lexicon_file_is_small_and_licensed() -> None:
    assert LEXICON_PATH.stat().st_size < 1_000_000
    assert "Princeton University" in (LEXICON_PATH.parent / "LICENSE").read_text()


def test_noun_classes_and_sisters() -> None:
    lexicon = load_lexicon()
    assert lexicon.noun_class("banana") == "food"
    assert lexicon.noun_class("mouse") == "animal"
    assert {"apple", "pear"} <= set(lexicon.sisters("banana"))


def test_missing_lexicon_raises(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lexicon_module, "LEXICON_PATH", tmp_path / "none.json.gz")
    load_lexicon.cache_clear()
    with pytest.raises(CleanerError, match="lexicon is missing"):
        load_lexicon()
    load_lexicon.cache_clear()
