"""Margins equal those of single pairs; draw statistics count what was drawn."""

from __future__ import annotations

import time

import pytest

from cleaner.data.base import TensorData
from cleaner.defenses.base import DrawnTexts, EpochTexts
from cleaner.inspection.margins import compute_draw_stats, compute_margins
from cleaner.inspection.similarity import compute_similarities
from cleaner.models.clip import Clip
from cleaner.text import Subtext, SubtextPair, draw_subtexts
from cleaner.types import StepReport


def pair(positive: str | None, *negatives: tuple[str, str]) -> SubtextPair:
    true = None if positive is None else Subtext(positive, "core")
    return SubtextPair(true, tuple(Subtext(text, kind) for text, kind in negatives))


def test_margins_equal_those_of_single_pairs(tiny_clip: Clip, toy_data: TensorData) -> None:
    drawn = {i: draw_subtexts(toy_data.captions[i], seed=0, epoch=0, index=i, n=1 + i % 3) for i in (3, 0, 17)}
    drawn[5] = pair("a cup")  # no negative
    drawn[6] = pair(None)
    reports = list[StepReport]()
    results = compute_margins(tiny_clip, toy_data, drawn, reports.append)
    assert [(report.stage, report.step, report.total) for report in reports][-1] == ("images", 3, 3)
    assert [m.index for m in results] == [3, 0, 17]
    for margin in results:
        texts = drawn[margin.index]
        assert texts.positive is not None
        named = [texts.positive.text, *(t.text for t in texts.negatives)]
        own, *false = compute_similarities(tiny_clip, toy_data.images([margin.index]), named)[0]
        assert margin.value == pytest.approx(own - max(false), abs=1e-5)
        assert margin.positive == named[0]
        assert margin.negative == named[1 + false.index(max(false))]
    assert compute_margins(tiny_clip, toy_data, {}) == []


def test_draw_stats_count_new_texts_kinds_and_skipped_captions() -> None:
    first = {0: pair("a cup", ("a kite", "object"), ("a red cup", "attribute"))}
    later = {
        0: pair("a cup", ("a ball", "object")),  # the positive was drawn before, the negative is new
        1: pair("a cup", ("a kite", "object")),  # another pair's texts are new to it
    }
    draws = DrawnTexts((0, 7, 8), first.get), DrawnTexts((0, 1), later.get)
    epochs = [*(EpochTexts([], drawn) for drawn in draws), EpochTexts([])]
    results = compute_draw_stats(epochs.__getitem__, 3)
    assert [(s.epoch, s.drawn, s.skipped) for s in results] == [(0, 3, 2), (1, 2, 0), (2, 0, 0)]
    assert [s.new_share for s in results] == [1.0, 0.75, 0.0]
    assert [s.kind_counts for s in results] == [{"attribute": 1, "object": 1}, {"object": 2}, {}]


def test_draw_stats_time_the_making_of_subtexts() -> None:
    def make(index: int) -> SubtextPair:
        time.sleep(0.02)
        return pair("a cup", ("a kite", "object"))

    def plan(epoch: int) -> EpochTexts:
        return EpochTexts([], DrawnTexts(range(5), make))

    (stats,) = compute_draw_stats(plan, 1)
    assert stats.seconds >= 0.1
