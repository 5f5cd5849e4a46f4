"""Subtexts checked against the facts of Scenes; the text module sees the captions only."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import pytest

from cleaner.data.scenery.words import SYNONYMS
from cleaner.data.scenes import CrowdScenes, Scene, Scenes, SketchScenes
from cleaner.text import Vocabulary, draw_subtexts
from tests.data.truth import is_true


@pytest.fixture(params=[(1000, 2), pytest.param((5000, 3), marks=pytest.mark.slow)], ids="{0[0]}x{0[1]}".format)
def sample(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Number of captions, and of epochs."""
    size: tuple[int, int] = request.param
    return size


def names_all(caption: str, scene: Scene) -> bool:
    """Return whether the caption names every object of the scene."""
    padded = f" {caption} ".replace(",", " ")
    return all(any(f" {word} " in padded for word in SYNONYMS[o.name]) for o in scene.objects)


@lru_cache(maxsize=1)
def count_verdicts(
    size: int, epochs: int
) -> tuple[Counter[tuple[str, bool]], Counter[tuple[str, bool, bool]], list[str]]:
    """Return counts of (kind, true) positives and (kind, names all, false) negatives, and the errors."""
    data = Scenes(split="train", size=size)
    vocabulary = Vocabulary.from_captions(data.captions)
    positives: Counter[tuple[str, bool]] = Counter()
    negatives: Counter[tuple[str, bool, bool]] = Counter()
    errors = []
    for epoch in range(epochs):
        for i, (caption, scene) in enumerate(zip(data.captions, data.scenes, strict=True)):
            pair = draw_subtexts(caption, seed=0, epoch=epoch, index=i, vocabulary=vocabulary)
            if pair.positive is not None:
                is_correct = is_true(pair.positive.text, scene) is True
                positives[pair.positive.kind, is_correct] += 1
                errors += [] if is_correct else [f"{caption} -> {pair.positive.text}"]
            is_complete = names_all(caption, scene)
            for subtext in pair.negatives:
                is_correct = is_true(subtext.text, scene) is False
                negatives[subtext.kind, is_complete, is_correct] += 1
                errors += [] if is_correct or not is_complete else [f"{caption} -> {subtext.text}"]
    return positives, negatives, errors


def test_positives_are_true(sample: tuple[int, int]) -> None:
    positives, _, errors = count_verdicts(*sample)
    assert not any(not true for _, true in positives), errors[:10]
    assert positives.total() > 0.99 * sample[0] * sample[1]
    assert positives["core", True] > 0.4 * sample[0] * sample[1]


def test_negatives_are_false_where_every_object_is_named(sample: tuple[int, int]) -> None:
    _, negatives, errors = count_verdicts(*sample)
    assert not any(complete and not false for _, complete, false in negatives), errors[:10]


def test_negatives_are_false_almost_everywhere(sample: tuple[int, int]) -> None:
    """A caption may omit an object: "a photo of a car" is true of a cat next to a car."""
    _, negatives, _ = count_verdicts(*sample)
    exceptions = {key: n for key, n in negatives.items() if not key[2]}
    assert sum(exceptions.values()) <= 0.03 * negatives.total(), exceptions
    assert {kind for kind, _, _ in exceptions} <= {"object"}, exceptions


def test_all_kinds_are_drawn(sample: tuple[int, int]) -> None:
    _, negatives, _ = count_verdicts(*sample)
    kinds = {kind: sum(n for key, n in negatives.items() if key[0] == kind) for kind in {key[0] for key in negatives}}
    assert set(kinds) == {"object", "attribute", "count", "relation", "verb"}
    assert max(kinds.values()) < 0.5 * negatives.total()


@pytest.mark.parametrize("kind", [SketchScenes, CrowdScenes])
def test_subtexts_of_other_variants(kind: type[Scenes]) -> None:
    data = kind(split="clean", size=250)
    for i, (caption, scene) in enumerate(zip(data.captions, data.scenes, strict=True)):
        pair = draw_subtexts(caption, seed=0, epoch=0, index=i)
        assert pair.positive is not None
        assert is_true(pair.positive.text, scene) is True, (caption, pair.positive.text)
        assert not any(is_true(s.text, scene) is True for s in pair.negatives), caption


def test_positives_that_keep_the_relation_are_true() -> None:
    data = Scenes(split="train", size=1000)
    for i, (caption, scene) in enumerate(zip(data.captions, data.scenes, strict=True)):
        pair = draw_subtexts(caption, seed=0, epoch=0, index=i, style="relation")
        assert pair.positive is not None
        assert is_true(pair.positive.text, scene) is True, (caption, pair.positive.text)
        assert pair.positive.text not in {negative.text for negative in pair.negatives}
