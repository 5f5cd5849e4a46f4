"""Subtexts judged by the facts of generated pictures; the generator itself sees the caption and nothing else."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import pytest

from cleaner.data.scenery.words import SYNONYMS
from cleaner.data.scenes import Scene, Scenes
from cleaner.text import Vocabulary, draw_subtexts
from tests.data.truth import is_true

SIZE = 5000
EPOCHS = 3


def names_all(caption: str, scene: Scene) -> bool:
    """Whether the caption names every object of the picture."""
    padded = f" {caption} ".replace(",", " ")
    return all(any(f" {word} " in padded for word in SYNONYMS[o.name]) for o in scene.objects)


@lru_cache(maxsize=1)
def judged() -> tuple[Counter[tuple[str, bool]], Counter[tuple[str, bool, bool]], list[str]]:
    """(kind, true) of positives, (kind, all objects named, false) of negatives, and what is wrong."""
    data = Scenes(split="train", size=SIZE)
    vocabulary = Vocabulary.from_captions(data.captions)
    positives: Counter[tuple[str, bool]] = Counter()
    negatives: Counter[tuple[str, bool, bool]] = Counter()
    wrong = []
    for epoch in range(EPOCHS):
        for i, (caption, scene) in enumerate(zip(data.captions, data.scenes, strict=True)):
            drawn = draw_subtexts(caption, 0, epoch, i, 3, vocabulary)
            if drawn.positive is not None:
                right = is_true(drawn.positive.text, scene) is True
                positives[drawn.positive.kind, right] += 1
                wrong += [] if right else [f"{caption} -> {drawn.positive.text}"]
            full = names_all(caption, scene)
            for subtext in drawn.negatives:
                right = is_true(subtext.text, scene) is False
                negatives[subtext.kind, full, right] += 1
                wrong += [] if right or not full else [f"{caption} -> {subtext.text}"]
    return positives, negatives, wrong


def test_positives_are_true() -> None:
    positives, _, wrong = judged()
    assert not any(not true for _, true in positives), wrong[:10]
    assert positives.total() > 0.99 * SIZE * EPOCHS
    assert positives["core", True] > 0.4 * SIZE * EPOCHS


def test_negatives_are_false_where_every_object_is_named() -> None:
    _, negatives, wrong = judged()
    assert not any(full and not false for _, full, false in negatives), wrong[:10]


def test_negatives_are_false_almost_everywhere() -> None:
    """What a caption leaves out may be there: "a photo of a car" is true of a cat beside a car."""
    _, negatives, _ = judged()
    exceptions = {key: n for key, n in negatives.items() if not key[2]}
    assert sum(exceptions.values()) <= 0.03 * negatives.total(), exceptions
    assert {kind for kind, _, _ in exceptions} <= {"object"}, exceptions


def test_all_kinds_are_drawn() -> None:
    _, negatives, _ = judged()
    kinds = {kind: sum(n for key, n in negatives.items() if key[0] == kind) for kind in {key[0] for key in negatives}}
    assert set(kinds) == {"object", "attribute", "count", "relation", "verb"}
    assert max(kinds.values()) < 0.5 * negatives.total()


@pytest.mark.parametrize("variant", ["sketch", "crowd"])
def test_other_pictures_too(variant: str) -> None:
    data = Scenes(split="clean", size=250, variant=variant)
    for i, (caption, scene) in enumerate(zip(data.captions, data.scenes, strict=True)):
        drawn = draw_subtexts(caption, 0, 0, i, 3)
        assert drawn.positive is not None
        assert is_true(drawn.positive.text, scene) is True, (caption, drawn.positive.text)
        assert not any(is_true(s.text, scene) is True for s in drawn.negatives), caption
