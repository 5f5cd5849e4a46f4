"""Views, BatchNorm and captions: what is measured, and its tables from simulated lines."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import pytest

from benchmarks import views
from benchmarks.protocol2 import plan
from tests.benchmarks.protocol2.simulated import measure_all
from tests.benchmarks.protocol2.test_summary import simulate_cell

SEEDS = plan.MODELS[views.MODEL].few_seeds


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return measure_all(views.MODEL, parts=("main",), simulated=simulate_cell)


@pytest.fixture(scope="module")
def lines(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        simulate_cell(task) | {"variant": asdict(variant), "suspect_sha256": str(task.seed)}
        for task, variant in views.list_trials(rows)
    ]


def test_gentler_views_are_measured_on_one_seed_and_mixed_captions_on_several(rows: list[dict[str, Any]]) -> None:
    trials = views.list_trials(rows)
    assert len(trials) == len(set(trials))
    assert {(task.attack, task.world, task.has_followups) for task, _ in trials} == {(views.ATTACK, "scenes", False)}
    assert {task.seed for task, variant in trials if variant != views.MIXED} == {SEEDS[0]}
    curves = Counter((task.method, task.seed) for task, variant in trials if variant == views.MIXED)
    suspects = {("", seed): 1 for seed in SEEDS}
    several = {(method, seed): 5 for method in views.MIXED_METHODS for seed in SEEDS}
    assert curves == suspects | several | {(method, SEEDS[0]): 5 for method in views.SPARSE_METHODS}
    at_rates = [task.method for task, variant in trials if variant == views.Variant()]
    assert sorted(at_rates) == sorted([*plan.KEY_METHODS, "finetune"])


def test_a_line_without_captions_is_one_on_full_captions(
    rows: list[dict[str, Any]], lines: list[dict[str, Any]]
) -> None:
    trials = views.list_trials(rows)
    assert views.matches(lines[0], *trials[0])
    assert not views.matches(lines[0], *trials[1])
    del (older := lines[0] | {"variant": dict(lines[0]["variant"])})["variant"]["captions"]
    assert views.matches(older, *trials[0])
