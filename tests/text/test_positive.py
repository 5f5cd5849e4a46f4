"""Positive subtexts: what may be dropped, what must stay."""

from __future__ import annotations

import pytest

from cleaner.data.photo_captions import LOOKS, PLAIN, WITH_LOOK
from cleaner.text import POSITIVE_STYLES, draw_subtexts, negative_subtexts, positive_subtexts
from cleaner.types import CleanerError
from tests.cases import read_cases

pytestmark = pytest.mark.quick


def drawn(caption: str, style: str = "core", seeds: int = 40) -> set[str]:
    return {s.text for seed in range(seeds) for s in positive_subtexts(caption, seed, style)}


@pytest.mark.parametrize(("caption", "core"), read_cases(__file__, "core"))
def test_core_is_among_the_draws(caption: str, core: str) -> None:
    assert core in drawn(caption)


@pytest.mark.parametrize("style", POSITIVE_STYLES)
@pytest.mark.parametrize("caption", [case for (case,) in read_cases(__file__, "nothing_dropped")])
def test_nothing_is_dropped(caption: str, style: str) -> None:
    (subtext,) = positive_subtexts(caption, style=style)
    assert (subtext.text, subtext.kind) == (caption, "identity")
    assert drawn(caption, style) == {caption}


@pytest.mark.parametrize("style", POSITIVE_STYLES)
@pytest.mark.parametrize(
    ("caption", "name"),
    [
        ("a yellow taxi in New York City", "New York City"),
        ("a Boston Red Sox fan", "Red Sox"),
        ("a view of Big Ben", "Big Ben"),
    ],
)
def test_a_name_is_kept_whole_or_not_at_all(caption: str, name: str, style: str) -> None:
    last = name.split()[-1]
    assert all(name in text for text in drawn(caption, style) if last in text)


def test_a_capital_in_a_title_marks_no_name() -> None:
    assert "A Dog" in drawn("A Big Dog")


@pytest.mark.parametrize("style", POSITIVE_STYLES)
@pytest.mark.parametrize("tone", ["light", "bright", "pale"])
def test_a_tone_goes_with_its_color(tone: str, style: str) -> None:
    texts = drawn(f"a {tone} red car on the road", style)
    assert any("a red car" in text for text in texts)
    assert not any(f"a {tone} car" in text for text in texts)


@pytest.mark.parametrize("style", POSITIVE_STYLES)
@pytest.mark.parametrize("word", ["hand-drawn", "hand-painted", "computer-generated", "toy"])
def test_what_is_no_real_thing_keeps_its_word(word: str, style: str) -> None:
    assert all(word in text for text in drawn(f"a {word} cat on a table", style) if "cat" in text.split())


@pytest.mark.parametrize("style", POSITIVE_STYLES)
@pytest.mark.parametrize("caption", [case for (case,) in read_cases(__file__, "compounds")])
def test_no_compound_is_cut(caption: str, style: str) -> None:
    compounds = ("hand - drawn", "black - and - white", "18th - century", "t - shirt", "see - through", "check - in")
    compounds += ("side by side", "home to pandas", "net fishing", "his mum")
    compound = next(c for c in compounds if c in caption)
    words = compound.replace("-", "").split()
    for text in drawn(caption, style):
        assert compound in text or not set(words) & set(text.split()), text


@pytest.mark.parametrize("style", POSITIVE_STYLES)
@pytest.mark.parametrize(("caption", "kept"), read_cases(__file__, "heads_and_scope"))
def test_heads_and_scope_operators_stay(caption: str, kept: str, style: str) -> None:
    assert all(kept in text for text in drawn(caption, style))


@pytest.mark.parametrize("style", POSITIVE_STYLES)
@pytest.mark.parametrize(
    "caption",
    [
        *(template.format(name="dog") for template in PLAIN),
        *(template.format(look=look, name="dog") for template in WITH_LOOK for look in LOOKS),
        "the subject of this image is a dog",
    ],
)
def test_a_caption_of_a_photo_keeps_what_it_shows(caption: str, style: str) -> None:
    assert all("dog" in text for text in drawn(caption, style))


@pytest.mark.parametrize(
    ("caption", "half"),
    [
        ("a woman wore a metallic gold and black dress", "a woman wore a gold"),
        ("a dark and dirty room with a bed", "a dark"),
        ("a chemistry and music room with a piano", "a chemistry"),
        ("a dog as temperatures rise in summer", "a dog as temperatures"),
        ("a nurse sitting with her hand on her knee", "a nurse sitting with her hand"),
    ],
)
def test_adjectives_that_share_a_noun_stay_together(caption: str, half: str) -> None:
    assert half not in drawn(caption, "core")


@pytest.mark.parametrize("style", POSITIVE_STYLES)
def test_articles_change_only_where_the_next_word_was_dropped(style: str) -> None:
    texts = drawn("a URL on a large orange sign", style)
    assert "a URL on an orange sign" in texts
    assert all(text.startswith("a URL") for text in texts)


def test_three_of_four_attributes_are_dropped() -> None:
    pairs = [draw_subtexts("a yellow banana", seed=0, epoch=0, index=i) for i in range(1000)]
    texts = [pair.positive.text for pair in pairs if pair.positive]
    assert 0.7 < texts.count("a banana") / 1000 < 0.8


def test_a_minimal_caption_is_its_own_positive() -> None:
    (subtext,) = positive_subtexts("a banana")
    assert (subtext.text, subtext.kind, subtext.edits) == ("a banana", "identity", ())


@pytest.mark.parametrize("caption", ["", " ", "😀", "!!!", "quickly and happily"])
def test_no_noun_gives_no_subtext(caption: str) -> None:
    assert positive_subtexts(caption) == []


def test_draws_depend_on_the_seed() -> None:
    caption = "a small yellow banana to the left of a red car on the grass"
    assert positive_subtexts(caption, 3) == positive_subtexts(caption, 3)
    assert len(drawn(caption, seeds=10)) > 3


@pytest.mark.parametrize(
    ("caption", "texts"),
    [
        ("A man in a hat leaning against a pole", {"A man in a hat", "A man leaning against a pole"}),
        (
            "on the blue table there are green grapes, yellow lemons, oranges and kiwis",
            {"on the blue table there are green grapes", "on the table there are grapes"},
        ),
        ("on the grass there are a cat and a dog", {"on the grass there is a cat"}),
        ("a photo of a cat on a red sofa", {"a cat on a sofa", "a cat on a red sofa", "a photo of a cat on a sofa"}),
        ("a heart made of white shells", {"a heart made of shells", "a heart made of white shells"}),
        ("friends having fun on the beach at night", {"friends having fun on the beach"}),
        ("an old dog is chasing a cat in a garden", {"a dog is chasing a cat", "an old dog is chasing a cat"}),
        ("a house on a hill overlooks the sea", {"a house on a hill", "a house overlooks the sea"}),
        ("a woman wore thigh - high boots", {"a woman wore thigh - high boots"}),
        ("a man with a dog wearing a hat", {"a man with a dog"}),
    ],
)
def test_relation_style_keeps_subject_relation_and_object(caption: str, texts: set[str]) -> None:
    results = drawn(caption, "relation")
    assert texts <= results
    assert not results & {"A man", "a man", "a cat", "a heart", "friends", "a dog", "a house", "a woman"}
    assert "a man wearing a hat" not in results


def test_relation_style_without_a_relation_is_core() -> None:
    for caption in ("a small yellow banana", "a photo of a yellow banana", "a dog and a cat", "a dog sleeps"):
        assert positive_subtexts(caption, 3, "relation") == positive_subtexts(caption, 3)


def test_relation_style_depends_on_the_seed_alone_and_differs_from_negatives() -> None:
    caption = "a small dog on a red chair next to a big table"
    assert positive_subtexts(caption, 3, "relation") == positive_subtexts(caption, 3, "relation")
    assert len(drawn(caption, "relation")) > 1
    assert not drawn(caption, "relation") & {s.text for seed in range(20) for s in negative_subtexts(caption, 3, seed)}


def test_unknown_style_is_rejected() -> None:
    with pytest.raises(CleanerError, match="short"):
        positive_subtexts("a banana", style="short")
