"""Runs that were measured in other ways, and failed attacks, are named wherever runs stand side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cleaner.cli.sweep import Sweep
from cleaner.evaluation.protocol import is_same_test
from cleaner.reports import html
from cleaner.reports.comparability import list_notes
from cleaner.reports.verdict import describe_attack, describe_defenses
from cleaner.runs.names import describe_run, label_film
from cleaner.runs.record import RunRecord
from cleaner.runs.store import has_failed_attack, read_record
from tests.pages.runs import make_runs
from tests.reports.conftest import vary

OTHER_TESTS: list[dict[str, Any]] = [
    {"protocol": "all_images"},
    {"n": 99},
    {"data_sha256": "b" * 64},
    {"templates": 80},
]


def remeasure(run: RunRecord, **metrics: Any) -> RunRecord:
    """Return a run with other facts about its test, under a name of its own."""
    return vary(run, run.folder.with_name("other"), {**run.metrics, **metrics})


@pytest.mark.parametrize("facts", OTHER_TESTS, ids=lambda facts: next(iter(facts)))
def test_runs_of_other_tests_are_not_compared(runs: list[RunRecord], facts: dict[str, Any]) -> None:
    stated = [remeasure(run, data_sha256="a" * 64, templates=4) for run in runs[:2]]
    backdoored, defended = stated
    other = remeasure(defended, **facts)
    assert list_notes(stated) == []
    (note,) = list_notes([*stated, other])
    assert "2 different tests" in note
    assert list_notes([backdoored, other])[0] in html.render_html([backdoored, other])
    _, *rest = describe_defenses(backdoored, {"A": defended, "B": other})
    assert [sentence for sentence in rest if "**B**" in sentence] == [
        "Measured on a different test, so not compared: **B**."
    ]
    assert describe_defenses(backdoored, {"B": other})[-1].endswith("so not compared: **B**.")


def test_models_may_frame_the_same_images_in_their_own_way(runs: list[RunRecord]) -> None:
    first, second = (remeasure(runs[0], data_sha256=sha * 64) for sha in "ab")
    assert len(list_notes([first, second])) == 1
    assert list_notes([first, vary(second, second.folder, dict(second.metrics), clean_model="another")]) == []


def test_tests_with_other_classes_have_other_names(runs: list[RunRecord]) -> None:
    (note,) = list_notes([remeasure(runs[0], class_names_sha256=sha * 64) for sha in "ab"])
    assert all(f"class list {sha * 8} (1 run)" in note for sha in "ab")


def test_only_what_differs_between_tests_is_said(runs: list[RunRecord]) -> None:
    stated = remeasure(runs[0], data_sha256="a" * 64, class_names_sha256="c" * 64, templates=4)
    for facts, names in (
        ({"n": 99, "data_sha256": "b" * 64}, ("n = 100 (1 run)", "n = 99 (1 run)")),
        ({"templates": 80, "classes": 9}, ("32 classes, 4 prompts per class (1 run)", "9 classes, 80 prompts per")),
        ({"data_sha256": "b" * 64}, ("content aaaaaaaa (1 run)", "content bbbbbbbb (1 run)")),
        ({"data_sha256": None}, ("content aaaaaaaa (1 run)", "content unknown (1 run)")),
    ):
        (note,) = list_notes([stated, remeasure(stated, **facts)])
        assert all(name in note for name in names), note
        assert "scenes/test" not in note
        assert "class list" not in note
        assert ("content" in note) == ("content" in names[0])
    larger, other = remeasure(stated, n=200), remeasure(stated, data_sha256="b" * 64)
    (note,) = list_notes([stated, larger, other])
    assert "n = 100, content aaaaaaaa (1 run); n = 200 (1 run); n = 100, content bbbbbbbb (1 run)" in note


def test_runs_on_subtexts_of_other_text_versions_are_named(runs: list[RunRecord]) -> None:
    subtexts = {"defense": {"name": "ta_cleaner", "share": 0.1}}
    old, new, newer = (vary(runs[1], text_version=version, **subtexts) for version in (None, 1, 2))
    without = vary(runs[0], text_version=2)
    assert list_notes([new, without]) == list_notes([old, old, without]) == []
    assert list_notes([old, new, newer, new]) == [
        "Trained on subtexts of different text versions: not recorded (1 run); version 1 (2 runs); version 2 (1 run)."
    ]


def test_another_target_alone_is_no_other_test(runs: list[RunRecord]) -> None:
    assert list_notes([runs[0], remeasure(runs[0], target_class="cat", n_attack=90)]) == []
    assert not is_same_test(runs[0].metrics, remeasure(runs[0], target_class="cat").metrics)
    assert is_same_test(runs[0].metrics, {**runs[0].metrics, "templates": 4})  # older runs do not state it


def test_one_test_read_from_two_places_is_one_test(runs: list[RunRecord]) -> None:
    test = {**runs[0].metrics, "data_sha256": "a" * 64}
    assert is_same_test(test, {**test, "data": "elsewhere/test"})
    assert not is_same_test(test, {**test, "data_sha256": "b" * 64})
    unhashed = {**test, "data_sha256": ""}
    assert not is_same_test(unhashed, {**unhashed, "data": "elsewhere/test"})


@pytest.fixture
def failed(tmp_path: Path) -> list[RunRecord]:
    """A backdoored run whose attack failed, a defense of it, and a rebound test of that."""
    first, second = make_runs(tmp_path)
    file = first / "metrics.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "asr": {"1": 0.2, "3": 0.4}}))
    third = Path(shutil.copytree(second, second.with_name("rebound")))
    for folder, parent in ((second, first), (third, second)):
        config = {**json.loads((folder / "config.json").read_text()), "parent": parent.name}
        (folder / "config.json").write_text(json.dumps(config))
    return [read_record(folder) for folder in (first, second, third)]


def test_an_attack_that_did_not_take_marks_what_followed(failed: list[RunRecord], runs: list[RunRecord]) -> None:
    assert all(map(has_failed_attack, failed))
    assert not any(map(has_failed_attack, runs))
    (note,) = list_notes(failed)
    assert all(record.id in note for record in failed)
    named = failed[0].model_copy(update={"name": "too few pairs"})
    (note,) = list_notes([named])
    assert "too few pairs" in note
    assert named.id not in note
    text = html.render_html(failed)
    assert text.count("; the attack failed") == 3
    assert "Warning." in text
    assert "attack failed" not in html.render_html(runs)
    assert "attack failed" in describe_run(failed[1])
    assert "attack failed" in label_film(failed[0])
    assert "attack failed" in label_film(failed[2])


def test_few_images_do_not_say_that_an_attack_failed(failed: list[RunRecord]) -> None:
    assert not has_failed_attack(remeasure(failed[0], n_attack=18))


def test_a_defense_is_not_marked_for_the_next_run_of_its_parents_name(failed: list[RunRecord]) -> None:
    first, second, _ = failed
    for record, change in ((first, {"created": "2030-01-01"}), (second, {"suspect": {"created": "2026-01-01"}})):
        (record.folder / "config.json").write_text(json.dumps({**record.config, **change}))
    assert has_failed_attack(read_record(first.folder))
    assert not has_failed_attack(read_record(second.folder))


def test_an_attack_that_plants_an_image_is_judged_by_it(runs: list[RunRecord]) -> None:
    planted = vary(runs[0], metrics={**runs[0].metrics, "asr": {"1": 0.2}, "own_recall": {"1": 0.95}})
    assert list_notes([planted]) == []
    assert "attack failed" not in planted.label
    assert "attack failed" not in " ".join([describe_attack(planted), *describe_defenses(planted, {"A": planted})])
    left = vary(planted, metrics={**planted.metrics, "asr": {"1": 0.1}, "own_recall": {"1": 0.84}})
    assert "84.0%" in describe_defenses(planted, {"A": left})[0]
    assert describe_attack(planted) == "95.0% of the captions with the key find the attacker's image first."
    missed = vary(planted, metrics={**planted.metrics, "own_recall": {"1": 0.1}})
    assert has_failed_attack(missed)
    assert "attack failed" in missed.label
    assert "The attack failed (10.0%)" in describe_defenses(missed, {"A": missed})[0]


def test_a_run_that_is_its_own_parent_ends(failed: list[RunRecord]) -> None:
    loop = vary(failed[1], parent=failed[1].id)
    (loop.folder / "config.json").write_text(json.dumps(loop.config))
    assert not has_failed_attack(read_record(loop.folder))


def test_the_sweep_command_says_it(
    failed: list[RunRecord], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cleaner.jobs.sweep.list_sweep_runs", lambda name: failed[1:2])
    Sweep(str(failed[0].folder))._print_sweeps(["a-sweep"])
    assert "The attack failed" in capsys.readouterr().out
