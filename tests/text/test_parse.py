"""Tagging and chunking: words that captions use differently from textblob's lexicon; spans."""

from __future__ import annotations

import pytest

from cleaner.text import parse

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("caption", "chunks"),
    [
        (
            "a small yellow banana to the left of a red car on the grass",
            "NP a small yellow banana|REL to the left of|NP a red car|REL on|NP the grass",
        ),
        ("a black and white cat", "NP a black and white cat"),
        ("a very large , old dog", "NP a very large , old dog"),
        ("person challenges person to the ball", "NP person|VP challenges|NP person|REL to|NP the ball"),
        ("the balloon with a portrait of an alien", "NP the balloon|REL with|NP a portrait|REL of|NP an alien"),
        ("a kitten with an orange - coloured hat", "NP a kitten|REL with|NP an orange-coloured hat"),
        ("the dog was playing in the snow", "NP the dog|VP was playing|REL in|NP the snow"),
        ("pretty girl runs", "NP pretty girl|VP runs"),
        ("a bulldog looking back", "NP a bulldog|VP looking|O back"),
        ("a small tangerine blossom", "NP a small tangerine blossom"),
        ("a heart shaped cookie on a plate", "NP a heart shaped cookie|REL on|NP a plate"),
        ("ivy covered towers", "NP ivy covered towers"),
        ("ivy covered the tower", "NP ivy|VP covered|NP the tower"),
        ("artist painted walls", "NP artist|VP painted|NP walls"),
        ("portrait of a middle aged nurse", "NP portrait|REL of|NP a middle aged nurse"),
        ("oak leaves on a path", "NP oak leaves|REL on|NP a path"),
        ("a train leaves on time", "NP a train|VP leaves|REL on|NP time"),
        ("set of blue cups", "NP set|REL of|NP blue cups"),
        ("back of a yellow van", "NP back|REL of|NP a yellow van"),
        ("a blue sink in a hall", "NP a blue sink|REL in|NP a hall"),
        ("a man drinking coffee", "NP a man|VP drinking|NP coffee"),
        ("girls drinking hot tea in a park", "NP girls|VP drinking|NP hot tea|REL in|NP a park"),
        ("a man drinking water", "NP a man|VP drinking|NP water"),
        ("kitten drinking from a bowl", "NP kitten|VP drinking|REL from|NP a bowl"),
        ("a woman reading books", "NP a woman|VP reading|NP books"),
        ("a woman eating cake", "NP a woman|VP eating|NP cake"),
        ("a girl feeding ducks", "NP a girl|VP feeding|NP ducks"),
        ("women riding horses on a beach", "NP women|VP riding|NP horses|REL on|NP a beach"),
        ("a man drinking", "NP a man|VP drinking"),
        ("a dog sleeping bag", "NP a dog sleeping bag"),
        ("a student meeting room", "NP a student meeting room"),
        ("a pet grooming salon in a town", "NP a pet grooming salon|REL in|NP a town"),
        ("a hotel swimming pool", "NP a hotel swimming pool"),
        ("a cat painting on a wall", "NP a cat painting|REL on|NP a wall"),
        ("a cat in a shopping bag", "NP a cat|REL in|NP a shopping bag"),
        ("the drinking water of a village", "NP the drinking water|REL of|NP a village"),
        ("children shopping at a market", "NP children|VP shopping|REL at|NP a market"),
        ("a light blue car under a light", "NP a light blue car|REL under|NP a light"),
        ("an orange and an apple", "NP an orange|O and|NP an apple"),
        ("an orange and white cat", "NP an orange and white cat"),
        ("a man in a black t-shirt", "NP a man|REL in|NP a black t-shirt"),
        ("the drummer , left , with a fan", "NP the drummer|O ,|O left|O ,|REL with|NP a fan"),
        ("the left side of the road", "O the|REL left side of|NP the road"),
        ("a dog barks", "NP a dog|VP barks"),
        ("every dog barks", "NP every dog|VP barks"),
        ("a small dog barks at a cat", "NP a small dog|VP barks|REL at|NP a cat"),
        ("a boy fishes in a lake", "NP a boy|VP fishes|REL in|NP a lake"),
        ("a woman waters plants", "NP a woman|VP waters|NP plants"),
        ("a man ships boxes", "NP a man|VP ships|NP boxes"),
        ("a man smokes", "NP a man|VP smokes"),
        ("a school bus stops", "NP a school bus|VP stops"),
        ("a bus stop", "NP a bus stop"),
        ("a dozen roses", "NP a dozen roses"),
        ("a baby clothes store", "NP a baby clothes store"),
        ("two dogs bark", "NP two dogs|VP bark"),
        ("some dogs bark at a cat", "NP some dogs|VP bark|REL at|NP a cat"),
        ("two dog houses", "NP two dog houses"),
        ("two weeks trip", "NP two weeks trip"),
        ("one school bus stop", "NP one school bus stop"),
        ("4 dogs on a beach", "NP 4 dogs|REL on|NP a beach"),
        ("two smiling women", "NP two smiling women"),
        ("mugs with blue handles", "NP mugs|REL with|NP blue handles"),
        ("the open left hand", "NP the open left hand"),
        ("black t-shirt with a logo", "NP black t-shirt|REL with|NP a logo"),
        ("pets and toys at a bus stop", "NP pets|O and|NP toys|REL at|NP a bus stop"),
        ("singer and drummer walk along a path", "NP singer|O and|NP drummer|VP walk|REL along|NP a path"),
        ("guests outside a tent hold up signs", "NP guests|REL outside|NP a tent|VP hold|REL up|NP signs"),
        ("a nurse drill a tooth", "NP a nurse|VP drill|NP a tooth"),
        ("parrot lights up the stage", "NP parrot|VP lights|REL up|NP the stage"),
        ("parents cheer from a bench", "NP parents|VP cheer|REL from|NP a bench"),
        ("buses park on a street", "NP buses|VP park|REL on|NP a street"),
        ("buses line up", "NP buses|VP line|O up"),
        ("farmers market on a street", "NP farmers market|REL on|NP a street"),
        ("patients neck", "NP patients neck"),
        ("woman with long arms searches on a shelf", "NP woman|REL with|NP long arms|VP searches|REL on|NP a shelf"),
        ("snow blows through a village", "NP snow|VP blows|REL through|NP a village"),
        ("potato chips in a bowl", "NP potato chips|REL in|NP a bowl"),
        ("ink drawing of a fox", "NP ink drawing|REL of|NP a fox"),
        ("a fox thinking of food", "NP a fox|VP thinking|REL of|NP food"),
        ("stop sign on a road", "NP stop sign|REL on|NP a road"),
        ("a boy walks past shops", "NP a boy|VP walks|REL past|NP shops"),
        ("a shop of the past", "NP a shop|REL of|NP the past"),
        ("a football game tuesday evening", "NP a football game|O tuesday|NP evening"),
        ("ways to care for a fox", "NP ways|O to|VP care|REL for|NP a fox"),
        ("a hand drawn map", "NP a hand drawn map"),
    ],
)
def test_chunks(caption: str, chunks: str) -> None:
    assert "|".join(f"{c.kind} {c.text}" for c in parse(caption).chunks) == chunks


def test_phrase_and_relation() -> None:
    parsed = parse("two small dogs in front of a red car")
    dogs, _ = parsed.noun_phrases
    assert [parsed.tokens[i].text for i in dogs.attributes] == ["small"]
    assert dogs.count is not None
    assert parsed.tokens[dogs.count].text == "two"
    assert parsed.lemma(dogs.head) == "dog"
    assert [c.text for c in parsed.chunks if c.kind == "REL"] == ["in front of"]


@pytest.mark.parametrize("caption", ["", "   ", "😀 😀 !!", "A  Dog,\ton THE grass.", "a cat " * 170, "don't stop"])
def test_chunks_cover_every_token_once_in_order(caption: str) -> None:
    parsed = parse(caption)
    assert [i for c in parsed.chunks for i in range(c.start, c.end)] == list(range(len(parsed.tokens)))
    assert all(caption[t.start : t.end] == t.text for t in parsed.tokens)
    assert "".join(t.text for t in parsed.tokens) == "".join(caption.split())
