"""Gentler views and frozen BatchNorm: what is measured, and its table from simulated lines."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from benchmarks import views
from benchmarks.markdown.views_tables import gentler_views
from tests.benchmarks.protocol2.simulated import measure_all
from tests.benchmarks.protocol2.test_summary import simulate_cell
from tests.benchmarks.result_files import write_lines


def test_only_complete_curves_are_in_the_table(tmp_path: Path) -> None:
    rows = measure_all(views.MODEL, parts=("main",), simulated=simulate_cell)
    trials = views.list_trials(rows)
    assert {(task.attack, task.seed, task.has_followups) for task, _ in trials} == {(views.ATTACK, 3, False)}
    assert len(trials) == len(set(trials)) == 5 * sum(map(len, views.VARIANTS.values()))
    lines = [simulate_cell(task) | {"variant": asdict(variant)} for task, variant in trials]
    assert views.matches(lines[0], *trials[0])
    assert not views.matches(lines[0], *trials[1])
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
