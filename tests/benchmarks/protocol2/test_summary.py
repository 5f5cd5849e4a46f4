"""Tables of protocol 2 from simulated lines: equal accuracy, paired gaps, one processor for each backdoored model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import plots, reference
from benchmarks.markdown import protocol2_tables
from benchmarks.markdown.protocol2_claim import mean_interval, paired_gaps
from benchmarks.protocol2 import plan, records, rule, summary
from benchmarks.protocol2.lines import MEASURED_ALONE
from benchmarks.protocol2.records import results_path
from benchmarks.protocol2.summary import Cell, select_chosen
from benchmarks.protocol2.tasks import Task
from tests.benchmarks.protocol2.simulated import FIRST_TARGET, OTHER_PROCESSOR, PROCESSOR, measure_all, simulate
from tests.benchmarks.result_files import write_lines

LITE = "scenes-lite"
SEEDS = plan.MODELS[LITE].seeds


def simulate_cell(task: Task) -> dict[str, Any]:
    """Return a line with test metrics; CleanCLIP keeps 40 points more of the attack, each seed adds a little."""
    row = simulate(task)
    if task.kind != "cell":
        return row
    kept = {"cleanclip": 0.4, "cleanclip_short K 100 %": 0.1}.get(task.method, 0.0)
    asr = min(0.97, row["asr"] + kept + 0.01 * task.seed) if task.method else 0.97
    metrics = {"ca": {"1": row["ca"]}, "asr": {"1": asr, "3": asr}, "ra": {"1": 0.5}, "asr_clean_model": {"1": 0.01}}
    metrics |= {"n": 10, "classes": 32, "data": "scenes/test"}
    fine = {"asr": {"1": 0.1, "10": 0.7}, "base_rate": {"1": 0.0, "10": 0.3}, "asr_clean_model": {"1": 0.0}}
    defense = plan.build_defense(task.method, task.form).state_dict() if task.method else None
    finetune = {"lr": task.lr, "seed": task.seed}
    return {
        **row,
        "model": LITE,
        "defense": task.method or None,
        "trigger": task.attack,
        "seed": task.seed,
        "config": {"defense": defense, "finetune": finetune, "trigger": {"name": task.attack}, "pairs": 6000},
        "metrics": {**metrics, "counterfactual_accuracy": 0.8, "target_class": task.target},
        "validation_ca": row["ca"],
        "backdoored_validation_ca": row["backdoored_ca"],
        "target_ca": {"ca": 0.9, "n": 10},
        "fine": fine if task.world != "scenes" else None,
        "probe": {"asr": 0.2},
        "rebound": {"metrics": metrics},
        "transfer": {"scenes-night": {"ca": 0.3}},
    }


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return measure_all(LITE, simulated=simulate_cell)


def write_rows(folder: Path, rows: Iterable[dict[str, Any]]) -> Path:
    write_lines(folder, f"protocol2_{LITE}.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def root(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("root"), rows)


def test_asr_at_equal_accuracy_is_interpolated_per_seed(rows: list[dict[str, Any]]) -> None:
    cells = summary.main_cells(summary.select_cells(rows), "badclip", FIRST_TARGET)
    found = summary.at_equal_accuracy(cells, rule.BUDGET)
    assert set(found[plan.FULL_METHOD]) == set(SEEDS)
    # A loss of 2 points is the rate 0.005; the attack is gone there but for the seed's share.
    assert found[plan.FULL_METHOD][3] == pytest.approx(0.02 + 0.03)
    assert found["cleanclip"][4] - found[plan.FULL_METHOD][4] == pytest.approx(0.4)
    assert f"{plan.FULL_METHOD}, formula reviewed" in found
    assert summary.at_equal_accuracy(cells, 0.01)[plan.FULL_METHOD][3] == pytest.approx(0.47 + 0.03), "a rate of 0.0025"


def test_a_curve_counts_once_all_of_its_rates_are_measured(rows: list[dict[str, Any]]) -> None:
    decided = summary.decide(LITE, rows)
    assert decided is not None
    curves = decided[1].curves
    cells = summary.main_cells(summary.select_cells(rows), "badclip", FIRST_TARGET)
    assert summary.drop_open_curves(cells, rows, curves) == cells
    lost = next(cell for cell in cells if cell.task.method == "cleanclip" and cell.task.seed == 4)
    shorter = [row for row in rows if row is not lost.row and row != lost.row]
    kept = summary.drop_open_curves([cell for cell in cells if cell is not lost], shorter, curves)
    assert {cell.task.seed for cell in kept if cell.task.method == "cleanclip"} == {*SEEDS} - {4}
    assert {cell.task.seed for cell in kept if cell.task.method == plan.FULL_METHOD} == {*SEEDS}
    elsewhere = [*shorter, lost.row | {"processor": OTHER_PROCESSOR}]
    assert summary.drop_open_curves(cells, elsewhere, curves) == kept
    diverged = [*shorter, lost.row | {"metrics": None}]
    assert len(summary.drop_open_curves(cells, diverged, curves)) == len(cells)


def test_seeds_on_which_methods_are_missing_are_left_out() -> None:
    def cells(seed: int, names: Iterable[str]) -> list[Cell]:
        return [Cell(Task("cell", "ssba", FIRST_TARGET, seed, method=name, has_followups=True), {}) for name in names]

    complete = cells(3, (name for name in plan.ORDER if name not in plan.RIVALS[LITE]))
    partial = [*cells(4, ("", "finetune")), *cells(5, ("", *plan.RIVALS[LITE]))]
    assert select_chosen([*complete, *partial]) == complete
    assert select_chosen(partial) == cells(4, ("", "finetune")), "what most methods have, while no seed is complete"


def test_lines_of_two_processors_are_never_mixed() -> None:
    suspect = Task("cell", "badclip", "cup", 3)
    defended = [Task("cell", "badclip", "cup", 3, method="finetune", lr=lr) for lr in (1e-4, 1e-3)]
    first = [simulate_cell(task) for task in (suspect, defended[0])]
    second = [simulate_cell(task) | {"processor": OTHER_PROCESSOR} for task in (suspect, *defended)]
    cells = summary.select_cells([*first, *second])
    assert [cell.row["processor"] for cell in cells] == [OTHER_PROCESSOR] * 3
    failed = simulate_cell(suspect) | {"processor": OTHER_PROCESSOR, "metrics": None}
    assert [cell.row["processor"] for cell in summary.select_cells([failed, *first])] == [PROCESSOR] * 2


def test_a_method_measured_elsewhere_alone_joins_the_others_and_is_named(
    rows: list[dict[str, Any]], root: Path, tmp_path: Path
) -> None:
    alone = MEASURED_ALONE[0]

    def move(row: dict[str, Any]) -> dict[str, Any]:
        is_moved = row["task"]["kind"] == "cell" and row["task"]["method"] == alone
        return row | {"processor": OTHER_PROCESSOR} if is_moved else row

    def copy(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"processor": OTHER_PROCESSOR, "metrics": row["metrics"] | {"asr": {"1": 0.001, "3": 0.001}}}

    suspects = [row for row in rows if row["task"]["kind"] == "cell" and not row["task"]["method"]]
    moved_rows = [*map(move, rows), *map(copy, suspects)]
    moved = summary.select_cells(moved_rows)
    assert len(moved) == len(summary.select_cells(rows))
    assert {cell.task.method for cell in moved if cell.row.get("is_on_copy")} == {alone}
    found = summary.at_equal_accuracy(summary.main_cells(moved, "badclip", FIRST_TARGET), rule.BUDGET)
    assert set(found[alone].values()) == {0.001}, "that of its own backdoored model, where nothing is lower"
    assert min(found["finetune"].values()) > 0.01
    stray = next(r for r in rows if (r["task"]["kind"], r["task"]["method"], r["task"]["seed"]) == ("cell", alone, 3))
    assert summary.select_cells([*moved_rows, stray]) == moved, "a line of the usual processor breaks no whole curve"
    write_rows(tmp_path, moved_rows)
    for table in (protocol2_tables.equal_accuracy, protocol2_tables.at_rates):
        note = f"`{alone}`: measured later"
        assert note in table(tmp_path)
        assert note not in table(root)


def test_the_shipped_table_has_each_method_at_its_rate(root: Path) -> None:
    (found,) = reference.select_full(LITE, root / "benchmarks" / "results" / results_path(LITE).name)
    table = reference.make_table("full", found[0], rule.BUDGET, found[1], "")
    names = {None, *plan.PLAIN, *plan.SHARES, *plan.RIVALS[LITE], f"{plan.FULL_METHOD}, formula reviewed"}
    assert {row["defense"] for row in table["rows"]} == names
    row = next(row for row in table["rows"] if (row["attack"], row["defense"]) == ("badnet", "cleanclip"))
    assert row["seeds"] == list(SEEDS)
    assert row["asr"] == pytest.approx([0.47, 0.45, 0.49]), "seeds 3 to 7 add 0.03 to 0.07"


def test_the_figure_has_a_line_per_method_and_attack(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "RESULTS_DIR", root / "benchmarks" / "results")
    figures = plots.plot_claim()
    assert list(figures) == [f"claim-{LITE}"]
    figure = figures[f"claim-{LITE}"]
    shown = [trace.name for trace in figure.data if trace.showlegend]
    both_formulas = 1
    assert len(shown) == len(set(shown)) == len({*plan.PLAIN, *plan.SHARES, *plan.RIVALS[LITE]}) + both_formulas
    lines = [trace for trace in figure.data if trace.name == "TA-Cleaner, K 100%"]
    assert len(lines) == len(plan.JUDGES)
    assert all(len(trace.x) == rule.CURVE_RATES for trace in lines)
    line = next(trace for trace in figure.data if trace.name == "CleanCLIP")
    assert line.x[-1] == pytest.approx(0.02)
    assert line.y[-1] == pytest.approx(0.47), "seeds 3 to 7 add 0.03 to 0.07"
    assert line.error_y.array[-1] == pytest.approx(0.02)


def test_gaps_are_paired_by_seed_with_an_interval_of_their_mean() -> None:
    gaps = paired_gaps({3: 0.5, 4: 0.6, 5: 0.7}, {3: 0.1, 4: 0.3, 6: 0.0})
    assert gaps == pytest.approx({3: -0.4, 4: -0.3})
    assert mean_interval([0.1]) is None
    low, high = mean_interval([1.0, 2.0, 3.0]) or (math.nan, math.nan)
    assert (low, high) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), rel=1e-5)
