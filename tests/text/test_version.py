"""A change of what parse, subtexts and EDA return comes with another TEXT_VERSION."""

from __future__ import annotations

import hashlib
import json

from cleaner.text import (
    POSITIVE_STYLES,
    TEXT_VERSION,
    Vocabulary,
    draw_subtexts,
    eda,
    negative_subtexts,
    parse,
    positive_subtexts,
)

CAPTIONS = (
    # as in Scenes
    "a red apple",
    "two small bananas left of the red cars",
    "a photo of a large striped umbrella above a blue chair",
    "three green cups and a yellow mug on a wooden table",
    "a purple tulip in front of a gray house",
    "there is no dog behind the orange sofa",
    "on the blue table there are green grapes, yellow lemons, oranges and kiwis",
    "a small cat below a dotted kite, with a pink background",
    "an image of one owl to the right of four black keys",
    # as on the web
    "a man in a hat leaning against a pole near the old harbor",
    "young woman drinking coffee while she reads a newspaper in a sunny kitchen",
    "Two dogs are running through the snow with a stick",
    "vintage wooden boat floats on a calm lake at sunset .",
    "people wait for the bus on a rainy street in New York",
    "portrait of a smiling boy holding an orange - coloured balloon",
    "snow covered mountains and a frozen river seen from above",
    "the actress wears a long white dress at the premiere of her film",
    "a glass of water, half full, next to an open book",
    "Group of children playing football on the beach during summer holiday",
    "heart shaped cookies covered in dark chocolate for the wedding",
    "a horse - drawn carriage and its driver pass the city hall",
    "he does not like black tea , but she loves it",
    "close up of a hand painted sign : fresh bread every morning !",
    "maple leaves falling on a bench where an elderly couple sits",
    "cute kitten sleeping on a pile of clean towels",
    "hot air balloons rise over the green valley before dawn",
    "a train leaves the station , followed by a yellow taxi",
    "all of the guests stood up when the band began to play",
    "",
    "🍌 !!",
)
DIGESTS = {1: "bd32e949e2db8d271d7ff5506f6cd58acab5797f4993441b0925e076084a24de"}
"""Text version -> `digest_texts` of its code."""


def digest_texts() -> str:
    """Return a hash of the tags, chunks, subtexts and EDA of the captions."""
    vocabulary = Vocabulary.from_captions(CAPTIONS)
    values = []
    for index, caption in enumerate(CAPTIONS):
        parsed = parse(caption)
        values.append([[token.text, token.tag] for token in parsed.tokens])
        values.append([[chunk.kind, chunk.text] for chunk in parsed.chunks])
        for seed in range(5):
            subtexts = [positive_subtexts(caption, seed=seed, style=style) for style in POSITIVE_STYLES]
            subtexts += [negative_subtexts(caption, seed=seed, vocabulary=words) for words in (None, vocabulary)]
            pair = draw_subtexts(caption, seed=seed, epoch=1, index=index, vocabulary=vocabulary)
            subtexts.append([each for each in (pair.positive, *pair.negatives) if each])
            values.append([[[each.kind, each.text] for each in drawn] for drawn in subtexts])
            values.append([eda(caption, seed)])
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def test_texts_are_those_of_the_stated_version() -> None:
    found = digest_texts()
    assert found == DIGESTS.get(TEXT_VERSION), (
        f"cleaner.text returns other texts than version {TEXT_VERSION} does. If that is meant, raise TEXT_VERSION in "
        f"cleaner/text/__init__.py to {max(DIGESTS) + 1} and add it to DIGESTS with {found!r}; else undo the change. "
        "Leave the digests of older versions as they are."
    )


def test_no_two_versions_are_alike() -> None:
    assert max(DIGESTS) == TEXT_VERSION
    assert len(set(DIGESTS.values())) == len(DIGESTS)
