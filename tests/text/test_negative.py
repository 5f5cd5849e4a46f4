"""Negative subtexts: kinds of edit, close words, agreement, vocabulary, determinism."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest

from cleaner.text import Vocabulary, draw_subtexts, negative_subtexts, positive_subtexts
from cleaner.text.forms import pluralize
from cleaner.text.kinds import FLOWERS, SUBSTITUTE_GROUPS
from cleaner.text.lexicon import load_lexicon
from tests.cases import read_cases

pytestmark = pytest.mark.quick

RED_CAR = "a small yellow banana to the left of a red car on the grass"


def drawn(caption: str, kind: str | None = None, seeds: int = 30, vocabulary: Vocabulary | None = None) -> set[str]:
    subtexts = [s for seed in range(seeds) for s in negative_subtexts(caption, 6, seed, vocabulary)]
    return {s.text for s in subtexts if kind in (None, s.kind)}


@pytest.mark.parametrize(
    ("caption", "kind", "expected"),
    [
        ("a cat to the left of a dog", "relation", {"a cat to the right of a dog"}),
        ("a cup above a book", "relation", {"a cup below a book"}),
        ("a ball in front of a box", "relation", {"a ball behind a box"}),
        ("a cat on the chair", "relation", {"a cat under the chair"}),
        ("a man without a hat", "relation", {"a man with a hat"}),
        ("a small ball", "attribute", {"a large ball"}),
        ("two dogs", "count", {"three dogs", "four dogs", "five dogs"}),
        ("no dogs", "count", {"many dogs"}),
        ("dogs", "count", {"a single dog"}),
    ],
)
def test_every_draw_of_a_kind(caption: str, kind: str, expected: set[str]) -> None:
    assert drawn(caption, kind) == expected


@pytest.mark.parametrize(
    ("caption", "text"),
    read_cases(__file__, "counts"),
)
def test_count_edits_agree_with_the_verb(caption: str, text: str) -> None:
    assert text in drawn(caption, "count")


@pytest.mark.parametrize("caption", ["three sheep graze in a field", "many sheep on a hill", "4 deer in a forest"])
def test_a_counted_noun_whose_plural_looks_alike_is_plural(caption: str) -> None:
    singular = {noun for group in SUBSTITUTE_GROUPS for noun in group if pluralize(noun) != noun}
    words = {text.split()[1] for text in drawn(caption, "object")}
    assert len(words) > 3
    assert words.isdisjoint(singular)
    assert not any(" many " in text for text in drawn(caption, "count"))


def test_articles_agree() -> None:
    for text in drawn("an orange ball") | drawn("a red apple") | drawn("an umbrella on a table"):
        words = text.split()
        for article, word in pairwise(words):
            if article in ("a", "an"):
                assert (article == "an") == (word[0] in "aeiou"), text


def test_verbs_keep_their_form() -> None:
    assert {text.split()[2] for text in drawn("a girl sitting", "verb")} <= {
        "sleeping",
        "running",
        "flying",
        "swimming",
        "standing",
        "kneeling",
        "walking",
        "jumping",
        "climbing",
        "dancing",
        "crawling",
        "skating",
    }


@pytest.mark.parametrize(("first", "second"), read_cases(__file__, "close_words"))
def test_close_words_never_replace_each_other(first: str, second: str) -> None:
    assert not load_lexicon().are_exclusive(first, second)
    vocabulary = Vocabulary.from_captions([f"a {first} and a {second}"] * 3 + ["a clock", "a pear and a wolf"])
    assert not any(second in text.split() for text in drawn(f"a {first}", "object", 20, vocabulary))


@pytest.mark.parametrize(("first", "second"), [("apple", "pear"), ("cat", "dog"), ("car", "banana"), ("cup", "kite")])
def test_different_things_exclude_each_other(first: str, second: str) -> None:
    assert load_lexicon().are_exclusive(first, second)


def test_flowers_exclude_each_other_but_not_their_hypernyms() -> None:
    exclusive = load_lexicon().are_exclusive
    line = next(line for line in SUBSTITUTE_GROUPS if "rose" in line)
    assert {*line} <= {*FLOWERS}
    assert all(exclusive(one, other) for one in line for other in line if one != other)
    assert not any(exclusive(name, above) for name in FLOWERS for above in ("flower", "plant"))
    vocabulary = Vocabulary.from_captions(["a flower in a vase", "a plant in a vase", "a blossom in a vase"] * 3)
    for name in ("lily", "dandelion", "lavender", "violet"):
        texts = drawn(f"a {name} in a vase", "object", 60, vocabulary)
        assert not [text for text in texts if text.split()[1] in ("flower", "plant", "blossom")]


@pytest.mark.parametrize(("caption", "never"), read_cases(__file__, "uncountable"))
def test_uncountable_phrases_keep_their_number(caption: str, never: str) -> None:
    assert not [text for text in drawn(caption, "count", 60) if never in text.split()]


def test_pronouns_follow_the_number() -> None:
    assert "two dogs holding their leash" in drawn("a dog holding its leash", "count", 60)
    assert "two men read to their son" in drawn("the man reads to his son", "count", 60)
    assert "two women looking at themselves" in drawn("a woman looking at herself", "count", 60)


@pytest.mark.parametrize(("caption", "kind", "never"), read_cases(__file__, "never_drawn"))
def test_true_or_ungrammatical_edits_are_never_drawn(caption: str, kind: str, never: str) -> None:
    vocabulary = Vocabulary.from_captions(["a shirt on a line", "those shirts", "a sweater on a line", caption] * 3)
    assert not [
        text for text in drawn(caption, kind, 60) | drawn(caption, kind, 60, vocabulary) if never in text.split()
    ]


@pytest.mark.parametrize(("caption", "new"), read_cases(__file__, "other_verbs"))
def test_other_verbs_are_drawn(caption: str, new: str) -> None:
    assert any(new in text.split() for text in drawn(caption, "verb", 60))


@pytest.mark.parametrize("number", ["a dozen", "two dozen", "half a dozen", "several hundred"])
def test_a_replaced_noun_keeps_its_number(number: str) -> None:
    texts = drawn(f"{number} eggs", "object")
    assert texts
    assert all(text.startswith(f"{number} ") for text in texts)


@pytest.mark.parametrize("compound", ["stained - glass", "off - road", "off - the - shoulder"])
def test_a_replaced_noun_leaves_the_compound_before_it_whole(compound: str) -> None:
    texts = drawn(f"the {compound} window vase", "object")
    assert texts
    assert all(f"the {compound} " in text for text in texts)


def test_in_a_garment_becomes_without_it() -> None:
    assert drawn("an actor in a black dress", "relation") == {"an actor without a black dress"}
    assert drawn("a cup in a black box", "relation") == {"a cup outside a black box"}


def test_mass_and_unique_nouns_get_no_plural() -> None:
    vocabulary = Vocabulary.from_captions(
        ["stones on a path", "woods on a path", "sand on a path", "silence on a path"]
    )
    replacements = {text.split()[0] for text in drawn("stones on a path", "object", 60, vocabulary)}
    assert replacements.isdisjoint({"woods", "sands", "silences", "golds"})


def test_vague_and_uncountable_nouns_replace_nothing() -> None:
    unfit = ("world", "structure", "shade", "snow", "furniture", "algae")
    vocabulary = Vocabulary.from_captions([f"a clock and a {noun}" for noun in unfit])
    replacements = {text.split()[1] for text in drawn("a bear", "object", 60, vocabulary)}
    assert "clock" in replacements
    assert replacements.isdisjoint(unfit)


@pytest.mark.parametrize("caption", ["a dog barks", "two dogs bark", "a man smokes"])
def test_a_noun_and_its_verb_are_replaced_one_at_a_time(caption: str) -> None:
    _, noun, verb = caption.split()
    objects, verbs = (drawn(caption, kind) for kind in ("object", "verb"))
    assert objects
    assert verbs
    assert all(text.split()[1] != noun and text.split()[2:] == [verb] for text in objects)
    assert all(text.split()[1] == noun and text.split()[2:] != [verb] for text in verbs)


def test_synonymous_colors_are_no_change() -> None:
    texts = {text.split()[1] for text in drawn("a crimson ball", "attribute", 60)}
    assert "blue" in texts
    assert texts.isdisjoint({"red", "scarlet", "crimson", "maroon"})


def test_words_of_the_caption_are_no_replacements() -> None:
    assert all(text.split().count("banana") == 1 for text in drawn("a banana and a pear", "object") if "banana" in text)


def test_after_a_negation_only_the_negation_is_edited() -> None:
    assert drawn("a man without a hat", "object") <= {text for text in drawn("a man without a hat") if "hat" in text}
    assert drawn("the car is not red") == {"the car is red"}


def test_what_comes_after_instead_of_stays() -> None:
    texts = drawn("a man riding a cow instead of a horse", seeds=60)
    assert {"a man riding a dog instead of a horse", "a woman riding a cow instead of a horse"} <= texts
    assert all(text.endswith(" instead of a horse") for text in texts)


@pytest.mark.parametrize(("caption", "text"), read_cases(__file__, "other_relations"))
def test_other_relations_are_drawn(caption: str, text: str) -> None:
    assert text in drawn(caption, "relation")


@pytest.mark.parametrize("bound", ["at least", "at most", "up to", "over"])
def test_a_bound_and_what_it_counts_stay(bound: str) -> None:
    texts = drawn(f"{bound} five dogs in a boat")
    assert len(texts) > 5
    assert all(text.startswith(f"{bound} five dogs ") for text in texts)


@pytest.mark.parametrize("verb", ["is red", "was red"])
def test_no_count_edit_leaves_a_second_verb_in_the_singular(verb: str) -> None:
    assert not drawn(f"a car that {verb} is parked", "count")


def test_a_capital_at_the_start_stays() -> None:
    assert drawn("A red car", "count") == {"Two red cars", "Three red cars", "Four red cars"}
    assert drawn("Red cars", "count") == {"A single red car"}


def test_draws_cycle_through_the_kinds() -> None:
    for seed in range(20):
        kinds = [s.kind for s in negative_subtexts(RED_CAR, 4, seed)]
        assert sorted(kinds) == ["attribute", "count", "object", "relation"]
    first = Counter(negative_subtexts(RED_CAR, 1, seed)[0].kind for seed in range(200))
    assert min(first.values()) > 25


def test_negatives_differ_from_caption_positives_and_each_other() -> None:
    for seed in range(20):
        texts = [s.text for s in negative_subtexts(RED_CAR, 8, seed)]
        assert len(set(texts)) == len(texts)
        assert not set(texts) & {RED_CAR, *(s.text for s in positive_subtexts(RED_CAR, seed))}


def test_edits_reproduce_the_text() -> None:
    for subtext in negative_subtexts("An old cat sits on the rug", 6, 1):
        text = "An old cat sits on the rug"
        assert subtext.edits[0].kind == subtext.kind
        for edit in sorted(subtext.edits, key=lambda e: -e.span[0]):
            assert text[slice(*edit.span)].startswith(edit.old)
            text = text[: edit.span[0]] + edit.new + text[edit.span[1] :]
        assert text == subtext.text


def test_new_words_come_from_the_vocabulary() -> None:
    captions = [
        "a red kite on the snow",
        "a blue snail on the sand",
        "two green lamps",
        "a clock stands",
        "a key lies on sand",
    ]
    vocabulary = Vocabulary.from_captions(captions)
    nouns = {"kite", "snail", "lamp", "clock", "key", "sand", "snow"}
    for seed in range(30):
        for subtext in negative_subtexts("a red cup on the snow", 4, seed, vocabulary):
            if subtext.kind == "object":
                assert set(subtext.edits[0].new.split()) <= nouns
            if subtext.kind == "attribute":
                assert subtext.edits[0].new in ("blue", "green")


def test_words_outside_the_vocabulary_come_last() -> None:
    vocabulary = Vocabulary.from_captions(["a cat", "a horse"])  # nothing to replace the beach
    for seed in range(30):
        subtexts = [s for s in negative_subtexts("a dog on a beach", 8, seed, vocabulary) if s.kind == "object"]
        is_known = [subtext.edits[0].new in ("cat", "horse") for subtext in subtexts]
        assert is_known == [True, True, False]


def test_the_most_common_words_of_a_vocabulary_come_first() -> None:
    nouns = Vocabulary.from_captions(["a kite", "a cup", "a kite"]).nouns
    assert list(nouns.items()) == [("kite", 2), ("cup", 1)]


def test_a_visible_thing_is_replaced_rather_than_an_idea() -> None:
    drawn = [negative_subtexts("a dog and an idea", 1, seed)[0] for seed in range(200)]
    objects = [subtext.text for subtext in drawn if subtext.kind == "object"]
    assert len(objects) > 40
    assert sum("dog" not in text.split() for text in objects) > 0.7 * len(objects)


def test_no_person_becomes_an_animal() -> None:
    texts = {n.text for seed in range(40) for n in negative_subtexts("a male looking back", seed=seed)}
    nouns = {text.split()[1] for text in texts if text.startswith("a ")}
    assert {"woman", "girl"} <= nouns <= {"male", "woman", "girl"}


def test_no_person_becomes_an_animal_of_the_vocabulary() -> None:
    vocabulary = Vocabulary.from_captions(["a horse and a bird", "a wall and a street", "a cat"] * 5)
    for caption in ("a young female", "fans in a stadium"):
        texts = drawn(caption, "object", 60, vocabulary)
        assert not [text for text in texts if {"horse", "bird", "cat", "walls", "streets"} & set(text.split())], texts


def test_vocabulary_may_be_given_as_captions() -> None:
    captions = ["a kite", "a snail", "a lamp", "a clock"]
    expected = negative_subtexts("a cup", 3, 0, Vocabulary.from_captions(captions))
    assert negative_subtexts("a cup", 3, 0, captions) == expected


def test_vocabulary_may_be_a_list_of_words() -> None:
    words = ["pear", "chair", "melon", "water"]
    drawn_words = {
        subtext.edits[0].new
        for seed in range(20)
        for subtext in negative_subtexts("a banana on a table", 4, seed, words)
        if subtext.kind == "object" and subtext.edits[0].old == "banana"
    }
    assert drawn_words <= {"pear", "chair", "melon"}
    assert len(drawn_words) > 1


def test_the_order_of_captions_does_not_matter() -> None:
    captions = ["a kite", "a snail", "a lamp", "a clock", "a kite"]
    one, other = Vocabulary.from_captions(captions), Vocabulary.from_captions(captions[::-1])
    assert [negative_subtexts("a cup", 3, s, one) for s in range(5)] == [
        negative_subtexts("a cup", 3, s, other) for s in range(5)
    ]


@pytest.mark.parametrize("caption", ["", "  ", "😀😀", "a cat " * 250, "?!", "A" * 3000, "no", "x\n\ty"])
def test_unusual_captions(caption: str) -> None:
    assert all(s.text != caption for s in negative_subtexts(caption))
    assert all(s.text for s in positive_subtexts(caption))


def test_a_draw_depends_on_its_arguments_alone() -> None:
    draws = {(e, i): draw_subtexts(RED_CAR, seed=0, epoch=e, index=i) for e in range(3) for i in range(3)}
    assert draws[1, 2] == draw_subtexts(RED_CAR, seed=0, epoch=1, index=2)
    assert len(set(draws.values())) > 5
    assert len({draw_subtexts(RED_CAR, seed=seed, epoch=0, index=0) for seed in range(8)}) > 3
    assert draw_subtexts("!!", seed=0, epoch=0, index=0).positive is None


def test_texts_are_the_same_in_another_process_without_data() -> None:
    code = (
        "import sys; from cleaner.text import draw_subtexts\n"
        f"pair = draw_subtexts({RED_CAR!r}, seed=0, epoch=1, index=2)\n"
        "assert not any(name.startswith('cleaner.data') for name in sys.modules)\n"
        "print(pair.positive.text, *(s.text for s in pair.negatives), sep='|')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pair = draw_subtexts(RED_CAR, seed=0, epoch=1, index=2)
    assert pair.positive is not None
    assert result.stdout.strip() == "|".join([pair.positive.text, *(s.text for s in pair.negatives)])
