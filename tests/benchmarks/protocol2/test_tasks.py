"""What protocol 2 measures, and in which order, follows from the lines measured so far."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from benchmarks import protocol
from benchmarks.protocol2 import plan, rule
from benchmarks.protocol2.lines import MEASURED_ALONE
from benchmarks.protocol2.tasks import Log, Task, decide_attacks, decide_methods, pending
from cleaner.types import CleanerError
from tests.benchmarks.protocol2.simulated import (
    BACKDOORED_CA,
    FIRST_TARGET,
    OTHER_PROCESSOR,
    PROCESSOR,
    SECOND_TARGET,
    is_attack_trial,
    measure_all,
    simulate,
)

LITE = "scenes-lite"


def tasks_of(rows: list[dict[str, Any]], **fields: Any) -> list[Task]:
    tasks = [Task(**row["task"]) for row in rows]
    return [task for task in tasks if all(getattr(task, name) == value for name, value in fields.items())]


@pytest.fixture(scope="module")
def measured() -> list[dict[str, Any]]:
    return measure_all(LITE)


def test_everything_is_measured_once(measured: list[dict[str, Any]]) -> None:
    tasks = tasks_of(measured)
    assert len(set(tasks)) == len(tasks)
    assert pending(LITE, Log(measured, PROCESSOR)) == []


def test_the_rest_of_the_grid_asks_for_no_further_cell() -> None:
    def simulate_hump(task: Task) -> dict[str, Any]:
        return simulate(task, ca=BACKDOORED_CA - (0.035 if 0 < task.lr < 3e-4 else 4 * task.lr))

    rows = measure_all(
        LITE, ["rest"], rows=measure_all(LITE, ["main"], simulated=simulate_hump), simulated=simulate_hump
    )
    assert pending(LITE, Log(rows, PROCESSOR), ("main",)) == []


def test_attacks_and_grid_come_before_any_test_figure(measured: list[dict[str, Any]]) -> None:
    kinds = [task.kind for task in tasks_of(measured)]
    first_cell = kinds.index("cell")
    assert set(kinds[:first_cell]) == {"attack trial", "grid"}
    assert "attack trial" not in kinds[first_cell:]


def test_each_method_of_the_table_is_measured_on_each_seed(measured: list[dict[str, Any]]) -> None:
    followed = (task for task in tasks_of(measured, attack="badclip", seed=3) if task.has_followups)
    full = {(task.method, task.form) for task in followed if task.method not in plan.RIVALS[LITE]}
    assert {method for method, _ in full} == {*plan.PLAIN, *plan.SHARES}
    assert len([form for method, form in full if method == plan.FULL_METHOD]) == 2, "both formulas"
    for seed in plan.MODELS[LITE].seeds:
        for attack in plan.JUDGES:
            cells = tasks_of(measured, kind="cell", attack=attack, target=FIRST_TARGET, seed=seed, steps=plan.STEPS)
            plain = [task for task in cells if task.data == "disjoint" and not task.is_aware]
            assert full <= {(task.method, task.form) for task in plain}
            rates = {task.lr for task in plain if (task.method, task.form) == ("cleanclip", "")}
            assert len(rates) == rule.CURVE_RATES


def test_the_other_parts_are_measured(measured: list[dict[str, Any]]) -> None:
    for data in plan.OTHER_DATA:
        assert {task.method for task in tasks_of(measured, data=data)} == set(plan.KEY_METHODS)
    assert {task.seed for task in tasks_of(measured, is_aware=True)} == {3, 4, 5}
    assert {task.target for task in tasks_of(measured, world="scenes-fine")} == {plan.FINE_TARGET}
    assert {task.attack for task in tasks_of(measured, kind="cell")} == set(protocol.ATTACKS)
    assert tasks_of(measured, steps=plan.LONG_STEPS, method="cleanclip")
    for rival in plan.RIVALS[LITE]:
        assert {task.attack for task in tasks_of(measured, kind="cell", method=rival)} == set(protocol.ATTACKS)
    for method in ("cleanclip", *plan.RIVALS[LITE]):
        grid = {task.lr for task in tasks_of(measured, kind="grid", method=method)}
        assert grid == set(rule.GRID), "the part rest measures what the rule did not need"
    targets = {task.target for task in tasks_of(measured, kind="cell", attack="badclip", seed=3, world="scenes")}
    assert len(targets) == plan.TARGETS


def test_the_processor_that_measures_one_attacker_measures_the_other(measured: list[dict[str, Any]]) -> None:
    known = [row for row in measured if row["task"]["is_aware"]]
    elsewhere = [row | {"processor": OTHER_PROCESSOR} for row in known]
    others = [row for row in measured if not row["task"]["is_aware"]]
    missing = pending(LITE, Log([*others, *elsewhere], PROCESSOR), ("aware",))
    assert [asdict(task) for task in missing] == [row["task"] for row in known]


def test_a_part_can_be_measured_alone() -> None:
    kinds = {task.kind for task in tasks_of(measure_all(LITE, ["grid"]))}
    assert kinds == {"attack trial", "grid"}
    cells = tasks_of(measure_all("scenes-vit", ["others"]), kind="cell")
    assert {task.attack for task in cells} == {"blended", "sig", "trojvqa", "ssba"}


def test_a_target_is_replaced_in_the_order_of_the_lottery() -> None:
    def fooled(task: Task) -> dict[str, Any]:
        return simulate(task, floor=0.2 if is_attack_trial(task, "badclip", FIRST_TARGET) else 0.01)

    order = plan.draw_targets()
    assert sorted(order) == sorted(set(order))
    assert decide_attacks(LITE, Log(measure_all(LITE, ["attacks"]))).targets == order[: plan.TARGETS]
    rows = measure_all(LITE, ["attacks"], simulated=fooled)
    assert decide_attacks(LITE, Log(rows)).targets == order[1 : plan.TARGETS + 1]
    judges = {task.attack for task in tasks_of(rows, target=SECOND_TARGET)}
    assert judges == set(protocol.ATTACKS), "now the first target: all attacks judge it"


def test_an_attack_gets_the_first_setting_with_which_it_takes() -> None:
    def strong_only(task: Task) -> dict[str, Any]:
        return simulate(task, asr=0.95 if task.attack != "ssba" or task.setting == 2 else 0.3)

    rows = measure_all(LITE, ["attacks"], simulated=strong_only)
    decided = decide_attacks(LITE, Log(rows))
    assert decided.settings == dict.fromkeys(protocol.ATTACKS, 0) | {"ssba": 2}
    assert len(tasks_of(rows, attack="ssba", target=FIRST_TARGET)) == 3


def test_an_attack_that_never_takes_replaces_no_target() -> None:
    def weak(task: Task) -> dict[str, Any]:
        return simulate(task, asr=0.3 + 0.1 * task.setting if task.attack == "ssba" else 0.95)

    decided = decide_attacks(LITE, Log(measure_all(LITE, ["attacks"], simulated=weak)))
    assert decided.settings["ssba"] == len(plan.ladder("ssba")) - 1, "its best setting"
    assert decided.targets[0] == FIRST_TARGET


def test_without_any_suitable_target_the_command_stops() -> None:
    with pytest.raises(CleanerError, match="targets"):
        measure_all(LITE, ["attacks"], simulated=lambda task: simulate(task, floor=0.5))


def test_the_form_is_chosen_by_rate_and_goes_into_the_control() -> None:
    def relation_is_cheap(task: Task) -> dict[str, Any]:
        cost = 2 if task.form == "reviewed, relation" else 20
        return simulate(task, ca=0.98 - cost * task.lr, asr=1.0)

    log = Log(measure_all(LITE, ["grid"], simulated=relation_is_cheap))
    methods = decide_methods(log, decide_attacks(LITE, log))
    assert methods.form == "reviewed, relation"
    assert plan.build_defense("cleanclip_short K 100 %", methods.form).state_dict()["positive"] == "relation"
    assert plan.other_formula(methods.form) == "ours, relation"
    assert methods.rates[plan.FULL_METHOD, methods.form].lr == 5e-3


def test_a_diverged_trial_is_never_chosen() -> None:
    def diverges(task: Task) -> dict[str, Any]:
        return simulate(task, ca=None if task.method and task.lr > 1e-3 else 0.979)

    log = Log(measure_all(LITE, ["grid"], simulated=diverges))
    methods = decide_methods(log, decide_attacks(LITE, log))
    assert {choice.lr for choice in methods.rates.values()} == {1e-3}


def test_cells_of_one_backdoored_model_come_from_one_processor() -> None:
    rows = measure_all(LITE, ["main"])
    seed3 = [row for row in rows if row["task"]["kind"] == "cell" and row["task"]["seed"] == 3]
    last = seed3[-1]
    rest = [row for row in rows if row is not last]
    again = tasks_of([{"task": task.__dict__} for task in pending(LITE, Log(rest, OTHER_PROCESSOR), ("main",))])
    group = [task for task in tasks_of(seed3, attack=last["task"]["attack"]) if task.method]
    assert not again[0].method, "the backdoored model comes first"
    assert set(again) <= {again[0], *group}, "one seed and attack; all others are complete"
    assert len(again) > 1
    finished = measure_all(
        LITE, ["main"], rows=rest, simulated=lambda t: simulate(t, processor=OTHER_PROCESSOR), processor=OTHER_PROCESSOR
    )
    assert pending(LITE, Log(finished, PROCESSOR), ("main",)) == []


def test_rivals_come_from_the_processor_of_the_methods_beside_them() -> None:
    rows = measure_all(LITE, ["rivals"], rows=measure_all(LITE, ["main"]))
    seed3 = [task for task in tasks_of(rows, kind="cell", attack="badclip", seed=3)]
    lost = next(row for row in rows if row["task"]["kind"] == "cell" and row["task"]["method"] in plan.RIVALS[LITE])
    rest = [row for row in rows if row is not lost]
    assert pending(LITE, Log(rest, PROCESSOR), ("rivals",)) == [Task(**lost["task"])]
    elsewhere = pending(LITE, Log(rest, OTHER_PROCESSOR), ("rivals",))
    again = [task for task in seed3 if task.method not in MEASURED_ALONE]
    assert len(elsewhere) == len(again), "the backdoored model, the methods and the rivals"


def test_a_method_measured_alone_needs_nothing_but_its_backdoored_model_from_the_same_processor() -> None:
    rows = measure_all(LITE, ["main"])
    alone, first = MEASURED_ALONE[0], plan.MODELS[LITE].seeds[0]
    lost = next(
        row for row in rows if (row["task"]["method"], row["task"]["seed"]) == (alone, first) and row["task"]["lr"]
    )
    rest = [row for row in rows if row is not lost]
    group = [task for task in tasks_of(rows, kind="cell", attack=lost["task"]["attack"], seed=first)]
    assert pending(LITE, Log(rest, PROCESSOR), ("main",)) == [Task(**lost["task"])]
    elsewhere = pending(LITE, Log(rest, OTHER_PROCESSOR), ("main",))
    assert set(elsewhere) == {task for task in group if task.method in ("", alone)}
