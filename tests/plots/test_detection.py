"""Charts of detectors: what they draw, and that scales and colors are fixed."""

from __future__ import annotations

import numpy as np
import pytest

from cleaner.plots import detection
from cleaner.plots.charts import STAGE_COLORS

pytestmark = pytest.mark.quick


def test_histogram_keeps_all_items_and_marks_the_threshold() -> None:
    scores = np.concatenate([np.linspace(0, 1, 200), [50.0]]).astype(np.float32)
    groups = {"clean": ("clean", scores), "poisoned": ("trigger", scores[:50])}
    figure = detection.score_histogram(groups, "pairs", threshold=40.0)
    assert [trace.line.color for trace in figure.data] == [STAGE_COLORS["clean"], STAGE_COLORS["trigger"]]
    assert all(abs(sum(trace.y) - 1) < 1e-6 for trace in figure.data)
    assert figure.layout.yaxis.range[1] > 1.2 * max(figure.data[0].y.max(), figure.data[1].y.max())
    assert figure.layout.yaxis.title.text == "Share of pairs"
    centers = figure.data[0].x
    assert figure.layout.shapes[0].x0 == pytest.approx((centers[-2] + centers[-1]) / 2)  # the edge of the last bin


def test_rare_poisoned_pairs_have_columns_of_their_own() -> None:
    rng = np.random.default_rng(0)
    clean, poisoned = (rng.normal(mean, 1, n).astype(np.float32) for mean, n in ((0, 5982), (20, 18)))
    figure = detection.score_histogram({"clean": ("clean", clean), "poisoned": ("trigger", poisoned)}, "pairs", 15.0)
    shares = [trace.y for trace in figure.data]
    assert not np.any((shares[0] > 0) & (shares[1] > 0))


@pytest.mark.parametrize("seed", range(5))
def test_histogram_keeps_scores_of_32_bits(seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=1000).astype(np.float32)
    figure = detection.score_histogram({"clean": ("clean", scores)}, "pairs")
    assert figure.data[0].y.sum() == pytest.approx(1, abs=1e-9)


def test_equal_scores_can_be_drawn() -> None:
    same = np.full(10, 0.5, np.float32)
    assert detection.score_histogram({"clean": ("clean", same)}, "pairs").data[0].y.sum() == 1


def test_roc_ends_with_chance_and_curves_differ_in_dash() -> None:
    figure = detection.roc_curves({"a": ([0, 1], [0, 1]), "b": ([0, 0, 1], [0, 1, 1])})
    assert [trace.name for trace in figure.data] == ["a", "b", "chance"]
    assert figure.data[0].line.dash != figure.data[1].line.dash


def test_reference_sizes_are_ticks() -> None:
    figure = detection.reference_curves({"DAO": [(64, 0.9), (128, 0.4)], "SLOF": [(64, 0.8)]})
    assert list(figure.layout.xaxis.tickvals) == [64, 128]
    assert figure.data[0].marker.symbol != figure.data[1].marker.symbol
