"""Tasks derive from secret and ID, and the key equals what the code computes from the shipped files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cleaner.exercises import tasks
from cleaner.exercises.content import read_exercises
from cleaner.files import shipped_assets


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, scene_cache: Path) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(scene_cache))


@pytest.mark.parametrize("name", list(tasks.KINDS))
def test_a_task_depends_on_id_secret_and_exercise_alone(name: str) -> None:
    drawn = [json.dumps(tasks.draw_tasks("s", f"id{i}")[name]) for i in range(20)]
    assert drawn[0] == json.dumps(tasks.draw_tasks("s", "id0")[name])
    assert len(set(drawn)) > 4
    assert any(json.dumps(tasks.draw_tasks("other", f"id{i}")[name]) != drawn[i] for i in range(20))


@pytest.mark.parametrize("name", list(tasks.KINDS))
def test_two_ids_get_different_right_answers(name: str) -> None:
    first, second = (tasks.expect(name, tasks.draw_tasks("s", own)[name], {}, {}) for own in ("anna", "bert"))
    assert first != second


@pytest.mark.parametrize("name", ["plant", "trigger"])
def test_patches_are_settings_that_a_scan_tries(name: str) -> None:
    from cleaner.attacks import TRIGGERS
    from cleaner.data.base import load_data
    from cleaner.evaluation.scan_variants import PATCH_SIZES

    settings = read_exercises()[name].settings
    assert set(settings["sizes"]) <= set(PATCH_SIZES)
    assert set(settings["targets"]) <= set(load_data("scenes", split="test", size=2).class_names)
    for position in settings["positions"]:
        TRIGGERS["badnet"](position=position)


@pytest.mark.parametrize(("name", "budget"), [("rate", 3.0), ("survive", 2.0)])
def test_the_key_follows_the_rule(name: str, budget: float) -> None:
    for i in range(20):
        task = tasks.draw_tasks("s", str(i))[name]
        (_, start, *_), *others = tasks.read_figures()[name][task["group"]]
        rows = {row[0]: row for row in others if row[0] in task["choices"]}
        assert len(rows) == len(task["choices"])
        costs = {label: start - row[1] for label, row in rows.items()}
        allowed = {label for label, cost in costs.items() if cost < budget + 0.01}
        allowed = allowed or {label for label, cost in costs.items() if cost == min(costs.values())}
        best = min(allowed, key=lambda label: rows[label][2])
        right = tasks.expect(name, task, {"rate": task["choices"][-1]}, {})
        assert set(right["rate"]) == allowed
        assert right["best"] == best
        assert right["cost"] == pytest.approx(costs[best])
        assert right["left"] == rows[task["choices"][-1]][2]  # of what was committed
        assert tasks.expect(name, task, {}, {})["left"] == rows[best][2]
        (_, _, _, _, high), (_, _, _, low, _), *_ = sorted(rows.values(), key=lambda row: row[2])
        assert right["overlap"] == ("yes" if low <= high else "no")


def test_the_figures_are_those_of_the_results() -> None:
    reference = json.loads((shipped_assets() / "reference.json").read_text())["tables"][0]
    rows = {row["defense"]: row for row in reference["rows"] if row["attack"] == "badclip"}
    labels = {row["label"] if name else "no defense": row for name, row in rows.items()}
    (survive,) = tasks.read_figures()["survive"].values()
    assert len(survive) == 7
    for label, accuracy, *success in survive:
        assert accuracy == pytest.approx(100 * labels[label]["ca"][0], abs=0.06)
        assert success == pytest.approx([100 * share for share in labels[label]["asr"]], abs=0.06)
    for rates in tasks.read_figures()["rate"].values():
        assert rates[0][0] == "no defense"
        assert [float(row[0]) for row in rates[1:]] == sorted(float(row[0]) for row in rates[1:])


def test_the_key_of_the_texts_counts_what_the_table_shows() -> None:
    task = tasks.draw_tasks("s", "anna")["texts"]
    right: Any = tasks.expect("texts", task, {}, {})
    shown, images = tasks.KINDS["texts"].show(task, is_revealed=True)
    assert len(images) == 4
    assert right["sort"].count("t") == 4
    for column, name in (("Backdoored", "before"), ("After TA-Cleaner", "after")):
        count = 0
        for image in "ABCD":
            pairs = zip(shown, right["sort"], strict=True)
            scores = [(row[column], letter) for row, letter in pairs if row["Image"] == image]
            (true,) = [score for score, letter in scores if letter == "t"]
            count += sum(score < true for score, letter in scores if letter == "f")
        assert count == right[name]
