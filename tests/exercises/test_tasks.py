"""Tasks derive from secret and ID, and the key equals what the code computes from the shipped files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cleaner.exercises import tasks
from cleaner.exercises.content import FOLDER, find_exercise, read_content
from cleaner.files import shipped_assets

EXERCISES = list(read_content().exercises)


@pytest.mark.parametrize("name", EXERCISES)
def test_a_task_depends_on_id_secret_and_exercise_alone(name: str) -> None:
    drawn = [json.dumps(tasks.draw_task("s", f"id{i}", name)) for i in range(20)]
    assert drawn[0] == json.dumps(tasks.draw_task("s", "id0", name))
    assert len(set(drawn)) > 4
    assert any(json.dumps(tasks.draw_task("other", f"id{i}", name)) != drawn[i] for i in range(20))


@pytest.mark.parametrize("name", [name for name in EXERCISES if name != "plant"])
def test_two_ids_get_different_right_answers(name: str) -> None:
    first, second = (tasks.expect(name, tasks.draw_task("s", student, name), {}, {}) for student in ("anna", "bert"))
    assert first != second


def test_the_hidden_task_uses_settings_that_a_scan_tries() -> None:
    from cleaner.attacks import TRIGGERS
    from cleaner.data.base import load_data
    from cleaner.evaluation.scan_variants import PATCH_SIZES

    settings = find_exercise("trigger").settings
    assert set(settings["sizes"]) <= set(PATCH_SIZES)
    assert set(settings["targets"]) <= set(load_data("scenes", split="test", size=2).class_names)
    for position in settings["positions"]:
        TRIGGERS["badnet"](position=position)


def test_the_key_of_the_learning_rates_follows_the_rule() -> None:
    shipped = json.loads((FOLDER / "rates.json").read_text())
    for i in range(12):
        task = tasks.draw_task("s", str(i), "rate")
        rows = [row for row in shipped["methods"][task["method"]] if row[0] in task["rates"]]
        allowed = [row for row in rows if 100 * (shipped["before"] - row[1]) <= 3.05]
        allowed = allowed or [sorted(rows, key=lambda row: -row[1])[0]]
        best = sorted(allowed, key=lambda row: row[2])[0]
        right = tasks.expect("rate", task, {"rate": best[0]}, {})
        assert right["rate"] == [row[0] for row in allowed]
        assert right["aware"] == best[0]
        assert right["left"] == pytest.approx(100 * best[2], abs=0.06)


def test_the_key_of_the_defenses_follows_from_the_shipped_table() -> None:
    table = json.loads((shipped_assets() / "reference.json").read_text())["tables"][0]
    rows: dict[Any, Any] = {row["defense"]: row for row in table["rows"] if row["attack"] == "badclip"}
    for i in range(20):
        task = tasks.draw_task("s", str(i), "survive")
        left = {name: rows[name]["asr"][0] for name in task["methods"]}
        cost = {name: rows[None]["ca"][0] - rows[name]["ca"][0] for name in task["methods"]}
        cheap = [name for name in left if cost[name] <= 0.02] or [min(cost, key=lambda name: cost[name])]
        best = min(cheap, key=lambda name: left[name])
        first, second = sorted(left, key=lambda name: left[name])[:2]
        right = tasks.expect("survive", task, {}, {})
        assert task["methods"][right["best"] - 1] == best
        assert right["left"] == pytest.approx(100 * left[best], abs=0.06)
        assert right["overlap"] == ("yes" if rows[first]["asr"][2] >= rows[second]["asr"][1] else "no")


def test_the_key_of_the_texts_counts_what_the_table_shows() -> None:
    task = tasks.draw_task("s", "anna", "texts")
    right = tasks.expect("texts", task, {}, {})
    shown = tasks.show_table("texts", task, is_revealed=True)
    for column, name in (("Backdoored", "before"), ("After TA-Cleaner", "after")):
        count = 0
        for image in "ABCD":
            scores = [
                (row[column], letter) for row, letter in zip(shown, right["sort"], strict=True) if row["Image"] == image
            ]
            (true,) = [score for score, letter in scores if letter == "t"]
            count += sum(score < true for score, letter in scores if letter == "f")
        assert count == right[name]


@pytest.mark.parametrize("name", ["rate", "survive", "texts"])
def test_nothing_of_the_attack_is_shown_before_the_prediction(name: str) -> None:
    task = tasks.draw_task("s", "anna", name)
    hidden, shown = (tasks.show_table(name, task, is_revealed=is_revealed) for is_revealed in (False, True))
    assert len(hidden) == len(shown)
    assert len(hidden[0]) < len(shown[0])
    assert not [column for column in hidden[0] if "success" in column or "Backdoored" in column]


@pytest.mark.parametrize("name", EXERCISES)
def test_steps_name_the_task(name: str) -> None:
    steps = tasks.fill_steps(name, tasks.draw_task("s", "anna", name), "my.safetensors")
    assert not [step for step in steps if "{" in step]
