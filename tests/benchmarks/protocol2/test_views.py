"""Views, BatchNorm and captions: what is measured, and its tables from simulated lines."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import views
from benchmarks.markdown.views_tables import gentler_views, mixed_captions
from benchmarks.protocol2 import plan
from tests.benchmarks.protocol2.simulated import OTHER_PROCESSOR, measure_all
from tests.benchmarks.protocol2.test_summary import simulate_cell
from tests.benchmarks.result_files import write_lines

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


def test_only_complete_curves_are_in_the_table_of_views(
    rows: list[dict[str, Any]], lines: list[dict[str, Any]], tmp_path: Path
) -> None:
    write_lines(tmp_path, f"protocol2_{views.MODEL}.jsonl", rows)
    write_lines(tmp_path, views.PATH.name, lines)
    text = gentler_views(tmp_path)
    assert [line.split(" | ")[1:3] for line in text.splitlines() if line.startswith("| `")] == [
        ["autoaugment", "live"],
        ["autoaugment", "frozen"],
        ["gentle", "live"],
        ["gentle", "frozen"],
        ["autoaugment", "live"],
        ["gentle", "live"],
        ["autoaugment", "live"],
        ["gentle", "live"],
    ]
    write_lines(tmp_path, views.PATH.name, lines[1:])
    assert "frozen | " in gentler_views(tmp_path)
    assert len(gentler_views(tmp_path).splitlines()) == len(text.splitlines()) - 1


def test_mixed_captions_are_compared_at_equal_accuracy_once_a_curve_is_complete(
    lines: list[dict[str, Any]], tmp_path: Path
) -> None:
    write_lines(tmp_path, views.PATH.name, lines)
    text = mixed_captions(tmp_path)
    assert "| `cleanclip` | 3, 4, 5 | 0.1 / 0.970 | 0.4 / 0.970 | 0.8 / 0.970 | 1.2 / 0.810 | 2.0 / 0.460 |" in text
    assert "| `finetune` | 3, 4, 5 |" in text
    assert "| `ta_cleaner K 10 %` | 3 |" in text
    assert "ASR@1 at 2 points" in text
    assert "| `ta_cleaner K 100 %` | 0.050" in text, "with its gaps"
    open_curve = ("cleanclip", SEEDS[1], views.MIXED_RATES[-1])
    kept = [line for line in lines if tuple(line["task"][name] for name in ("method", "seed", "lr")) != open_curve]
    write_lines(tmp_path, views.PATH.name, kept)
    assert "| `cleanclip` | 3, 5 |" in mixed_captions(tmp_path)


def test_lines_on_mixed_captions_share_the_weights_of_the_backdoored_model(
    lines: list[dict[str, Any]], tmp_path: Path
) -> None:
    changed = [line | {"processor": OTHER_PROCESSOR} if line["task"]["method"] == "par" else line for line in lines]
    write_lines(tmp_path, views.PATH.name, changed)
    text = mixed_captions(tmp_path)
    assert "| `par` | 3, 4, 5 |" in text
    assert "on another processor, from the same backdoored weights: `par`." in text
    is_lost = [line["task"]["method"] == "par" and line["task"]["seed"] == SEEDS[0] for line in changed]
    others = [line | {"suspect_sha256": "other"} if lost else line for line, lost in zip(changed, is_lost, strict=True)]
    write_lines(tmp_path, views.PATH.name, others)
    assert "| `par` | 4, 5 |" in mixed_captions(tmp_path)
