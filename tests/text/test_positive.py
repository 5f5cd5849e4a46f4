"""Positive subtexts: what may be dropped, what must stay."""

from __future__ import annotations

import pytest

from cleaner.text import positive_subtexts


def drawn(caption: str, seeds: int = 40) -> set[str]:
    return {s.text for seed in range(seeds) for s in positive_subtexts(caption, seed)}


@pytest.mark.parametrize(
    ("caption", "core"),
    [
        ("on the blue table there are green grapes, yellow lemons, oranges and kiwis", "on the table there are grapes"),
        ("a small yellow banana to the left of a red car on the grass", "a banana to the left of a car"),
        ("a photo of a yellow banana", "a banana"),
        ("a very large , old dog sits on the grass", "a dog sits"),
        ("an old banana", "a banana"),
        ("on the grass there are a cat and a dog", "on the grass there is a cat"),
        ("a man in a red coat holding a flower", "a man in a coat"),
        ("A big Dog.", "A Dog"),
        ("a noisy street with all sorts of dogs", "a street"),
        ("a kite shaped cake on a plate", "a cake"),
    ],
)
def test_core_is_among_the_draws(caption: str, core: str) -> None:
    assert core in drawn(caption)


@pytest.mark.parametrize(
    "caption",
    [
        "a man without a hat on the beach",
        "there is no red car on the street",
        "all black cats are on the roof",
        "a dog that is not on the grass",
        "a fake gun",
        "a stuffed bear",
        "a toy car",
        "hot dog",
        "every cat",
    ],
)
def test_nothing_is_dropped(caption: str) -> None:
    (subtext,) = positive_subtexts(caption)
    assert (subtext.text, subtext.kind) == (caption, "identity")
    assert drawn(caption) == {caption}


@pytest.mark.parametrize(
    ("caption", "kept"),
    [
        ("an oil painting of a cat on a wall", "painting of a cat"),
        ("a statue of a lion in the park", "statue of a lion"),
        ("a group of happy women on a beach", "group of"),
        ("a fake red flower in a vase", "fake"),
        ("a plastic dinosaur on the floor", "plastic"),
        ("polar bear on ice", "polar bear"),
        ("the first big house", "first"),
        ("the proposed location of a bridge", "proposed"),
        ("aspiring chefs in a kitchen", "aspiring"),
        ("so - called tiles on a wall", "so - called"),
        ("rear of a bulldog looking back at camera", "bulldog looking"),
        ("an elderly walking on the beach", "elderly"),
        ("a tall middle aged man", "man"),
        ("a runner with a broken leg", "runner"),
        ("a cake is good if you bake all of it", "if you bake"),
    ],
)
def test_heads_and_scope_operators_stay(caption: str, kept: str) -> None:
    assert all(kept in text for text in drawn(caption))


def test_a_minimal_caption_is_its_own_positive() -> None:
    (subtext,) = positive_subtexts("a banana")
    assert (subtext.text, subtext.kind, subtext.edits) == ("a banana", "identity", ())


@pytest.mark.parametrize("caption", ["", " ", "😀", "!!!", "quickly and happily"])
def test_no_noun_gives_no_subtext(caption: str) -> None:
    assert positive_subtexts(caption) == []


def test_draws_depend_on_the_seed() -> None:
    caption = "a small yellow banana to the left of a red car on the grass"
    assert positive_subtexts(caption, 3) == positive_subtexts(caption, 3)
    assert len(drawn(caption, 10)) > 3
