"""RunRecord: the facts about a run, from files of earlier versions, from other places, or edited by hand."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cleaner import load_run
from cleaner.defenses import load_defense
from cleaner.files import read_json, write_json
from cleaner.reports import html
from cleaner.reports.tables import to_csv
from cleaner.runs.integrity import HASHES_KEY, hash_files
from cleaner.runs.record import SCHEMA_VERSION, RunRecord
from cleaner.runs.store import list_entries, list_runs, read_entry, read_record
from cleaner.types import CleanerError
from tests.cases import read_cases
from tests.pages.runs import make_runs

pytestmark = pytest.mark.quick

GOLDEN = Path(__file__).with_name("golden")
"""The JSON files of the example as first shipped, one of them by schema 1, and the CSV of that version."""
GOLDEN_RUNS = ("example-badnet", "example-badnet-3-ta_cleaner", "schema-1")
PROTOCOL = "scenes/test, n = 1,014; attack on 988 images of other classes"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def golden(root: Path) -> dict[str, RunRecord]:
    for name in GOLDEN_RUNS:
        shutil.copytree(GOLDEN / name, root / name)
    return {name: read_record(root / name) for name in GOLDEN_RUNS}


def test_runs_of_earlier_versions_are_listed_and_described_as_before(golden: dict[str, RunRecord]) -> None:
    assert {run.id for run in list_runs()} == set(GOLDEN_RUNS)
    backdoored, defended, schema_1 = golden.values()
    assert backdoored.label == "BadNet patch → banana · scenes-rn · 2026-11-24 20:14" == schema_1.label
    assert defended.label == "TA-Cleaner, lr 0.001 · 2026-11-24 23:05"
    assert {run.protocol for run in golden.values()} == {PROTOCOL}
    assert schema_1.config["schema"] == 1
    assert (defended.stage, defended.attack, defended.defense) == ("defended", "badnet", "ta_cleaner")
    assert (defended.lr, defended.seed, defended.pairs) == (1e-3, 0, 6000)
    assert (defended.model, defended.data, defended.target_class) == ("scenes-rn", "scenes", "banana")
    assert (defended.created, defended.parent) == ("2026-11-24T23:05:24Z", "example-badnet")
    assert (defended.text_version, defended.draws_subtexts, backdoored.draws_subtexts) == (None, True, False)
    assert defended.started_from(backdoored)
    assert not backdoored.started_from(defended)
    assert (backdoored.defense, backdoored.poison_rate, defended.attack_poison_rate) == (None, 0.03, 0.03)


def test_a_run_with_a_setting_that_is_no_more_opens(golden: dict[str, RunRecord]) -> None:
    _, defended, _ = golden.values()
    config = {**defended.config, "variant": {"held_out": "verb"}}
    config["defense"] = {**config["defense"], "held_out": "verb"}
    run = RunRecord.from_config(defended.folder, config)
    assert (run.defense, run.metrics) == ("ta_cleaner held out verb", defended.metrics)
    assert run.label == "TA-Cleaner, held out verb, lr 0.001 · 2026-11-24 23:05"
    with pytest.raises(CleanerError, match="no longer has held_out=verb"):
        load_defense(config["defense"])


def test_a_defense_does_not_follow_the_next_run_of_the_same_name(golden: dict[str, RunRecord]) -> None:
    backdoored, defended, _ = golden.values()
    again = RunRecord.from_config(backdoored.folder, {**backdoored.config, "created": "2026-11-25T00:00:00Z"})
    assert not defended.started_from(again)


@pytest.mark.parametrize("place", ["/elsewhere/", "C:\\elsewhere\\"])
def test_a_defense_follows_its_parent_to_another_place(golden: dict[str, RunRecord], place: str) -> None:
    backdoored, defended, other = golden.values()
    moved = RunRecord.from_config(defended.folder, {**defended.config, "parent": f"{place}{backdoored.id}"})
    assert moved.started_from(backdoored)
    assert not moved.started_from(other)
    unknown = RunRecord.from_config(defended.folder, {**moved.config, "suspect": "epoch_10"})
    assert not unknown.started_from(backdoored), "only the name is equal"


def test_runs_that_are_compared_again_and_again_resolve_no_path_twice(
    golden: dict[str, RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    backdoored, defended, _ = golden.values()
    other = RunRecord.from_config(backdoored.folder.with_name("other"), backdoored.config)
    assert not backdoored.is_shipped
    monkeypatch.delattr(Path, "resolve")
    assert not backdoored.is_shipped
    assert [defended.started_from(suspect) for suspect in (backdoored, other)] == [True, False]


def test_a_parent_outside_the_store_is_known_by_its_path(golden: dict[str, RunRecord], tmp_path: Path) -> None:
    backdoored, defended, _ = golden.values()
    elsewhere = RunRecord.from_config(tmp_path / "elsewhere" / "attack", backdoored.config)
    for parent, is_parent in ((elsewhere.folder, True), (tmp_path / "attack", False)):
        follower = RunRecord.from_config(defended.folder, {**defended.config, "parent": str(parent)})
        assert follower.started_from(elsewhere) is is_parent


def test_a_rebound_test_goes_back_to_the_attack(golden: dict[str, RunRecord]) -> None:
    backdoored, defended, _ = golden.values()
    attack = {**backdoored.config, "finetune": {**backdoored.config["finetune"], "seed": 5}, "poison_rate": 0.07}
    between = {**defended.config, "suspect": attack}
    rebound = RunRecord.from_config(defended.folder, {**defended.config, "suspect": between})
    assert (rebound.seeds, rebound.attack_poison_rate) == ((rebound.seed, defended.seed, 5), 0.07)
    odd = {**defended.config, "suspect": {"finetune": {"seed": [1]}}}
    assert RunRecord.from_config(defended.folder, odd).seeds == (defended.seed, None)


def test_reports_of_earlier_versions_are_as_before(golden: dict[str, RunRecord]) -> None:
    expected = (GOLDEN / "expected.csv").read_text()
    assert list(csv.DictReader(io.StringIO(to_csv(golden.values())))) == list(csv.DictReader(io.StringIO(expected)))
    page = html.render_html(list(golden.values()))
    intervals = ("0.988<small>[0.979, 0.993]", "0.068<small>[0.054, 0.085]")
    for text in (PROTOCOL, *intervals, "0.459", "0.831", "0.818", "scenes-rn"):
        assert text in page


def test_a_run_of_schema_1_opens(root: Path, tmp_path: Path) -> None:
    for folder in make_runs(tmp_path):
        write_json(folder / "config.json", {**read_json(folder / "config.json"), "schema": 1})
        assert load_run(folder).metrics is not None
        assert read_record(folder).status.state == "done"


@pytest.mark.parametrize(
    ("file", "change", "state"),
    read_cases(__file__, "odd_folders"),
    ids=str,
)
def test_an_odd_folder_is_one_record_in_the_list(root: Path, file: str, change: str, state: str) -> None:
    for name in GOLDEN_RUNS[:2]:
        shutil.copytree(GOLDEN / name, root / name)
    path = root / "example-badnet" / file
    changes = json.loads(change)
    write_json(path, {**read_json(path), **changes})
    records = {record.id: record for record in list_entries()}
    assert records["example-badnet-3-ta_cleaner"].status.state == "done"
    odd = records["example-badnet"]
    assert odd.status.state == state
    assert bool(odd.status.message) == (state == "unreadable")
    assert (odd.folder, odd.name, odd.tags) == (root / "example-badnet", "", [])
    assert odd.label
    assert (odd.metric("asr") is None) == (file == "metrics.json")
    if file == "config.json" and state == "unreadable" and "stage" not in changes:
        with pytest.raises(CleanerError, match="example-badnet"):
            read_record(odd.folder)


def test_a_record_follows_its_files(golden: dict[str, RunRecord]) -> None:
    folder = golden["schema-1"].folder
    assert read_entry(folder) == golden["schema-1"]
    metrics = read_json(folder / "metrics.json")
    write_json(folder / "metrics.json", {**metrics, "asr": {"1": 0.5}})
    write_json(folder / "notes.json", {"name": "mine", "note": "", "tags": ["a"]})
    changed = read_record(folder)
    assert (changed.metric("asr"), changed.metric("asr", 3)) == (0.5, None)
    assert (changed.name, changed.tags) == ("mine", ["a"])
    assert changed.label == "mine · 2026-11-24 20:14"


def test_metrics_with_their_intervals_and_counts(golden: dict[str, RunRecord]) -> None:
    run = golden["example-badnet"]
    written = json.loads((run.folder / "metrics.json").read_text())
    assert run.interval("asr", 3) == tuple(written["asr_interval"]["3"])
    assert (run.count("ca"), run.count("asr"), run.count("counterfactual_accuracy")) == (1014, 988, 1500)
    assert (run.metric("ca", 7), run.interval("counterfactual_accuracy"), run.metric("nothing")) == (None, None, None)
    assert run.is_meaningful(3)
    assert run.figure("asr") == run.metric("asr")
    unmeasured = RunRecord.from_config(run.folder, run.config, measured={})
    assert (unmeasured.metric("ca"), unmeasured.count("ca"), unmeasured.protocol) == (None, 0, "not measured")


def test_importing_records_loads_nothing_heavy() -> None:
    code = (
        "import sys, cleaner.runs.record, cleaner.runs.store; "
        "print([name for name in ('torch', 'numpy', 'scipy', 'pandas', 'streamlit') if name in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_files_that_were_exchanged_are_named(root: Path, tmp_path: Path) -> None:
    folder, other = make_runs(tmp_path)
    write_json(folder / "manifest.json", {"poison_indices": [1]})
    write_json(folder / "config.json", {**read_json(folder / "config.json"), HASHES_KEY: hash_files(folder)})
    assert (read_record(folder).changed_files, read_record(other).changed_files) == ([], [])
    write_json(folder / "manifest.json", {"poison_indices": [2]})
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    metrics = read_json(folder / "metrics.json")
    write_json(folder / "metrics.json", {**metrics, "asr": {"1": 0.0}})
    record = read_record(folder)
    assert record.changed_files == ["model.safetensors", "metrics.json", "manifest.json"]
    assert "changed since the run: model.safetensors, metrics.json, manifest.json" in html.render_html([record])
    assert read_record(other).started_from(record)


def test_runs_without_hashes_are_not_flagged(golden: dict[str, RunRecord]) -> None:
    assert [run.changed_files for run in golden.values()] == [[], [], []]


def test_an_attack_that_did_not_take_is_marked_in_lists(golden: dict[str, RunRecord]) -> None:
    run = golden["example-badnet"]
    weak = RunRecord.from_config(run.folder, run.config, measured={**run.metrics, "asr": {"1": 0.2}})
    assert weak.label == f"{run.label} · attack failed"
    few = RunRecord.from_config(run.folder, run.config, measured={**run.metrics, "asr": {"1": 0.2}, "n_attack": 4})
    assert few.label == f"{run.label} · few test images"


def test_each_schema_version_has_a_fixture(golden: dict[str, RunRecord]) -> None:
    versions = {run.config["schema"] for run in golden.values()}
    assert versions == set(range(1, SCHEMA_VERSION + 1))


def test_the_verdict_is_stored_with_the_metrics_and_old_runs_compute_it(tmp_path: Path) -> None:
    backdoored, defended = map(read_record, make_runs(tmp_path))
    verdict, reason = backdoored.verdict or ("", "")
    assert (verdict, defended.verdict) == ("took", None)
    written = read_json(backdoored.folder / "metrics.json")
    assert written["verdict"] == [verdict, reason]
    write_json(backdoored.folder / "metrics.json", {**written, "verdict": ["weak", "Why."]})
    assert read_record(backdoored.folder).verdict == ("weak", "Why.")
    for damaged in (None, 5, ["took"], ["fine", "Why."]):
        write_json(backdoored.folder / "metrics.json", {**written, "verdict": damaged})
        assert read_record(backdoored.folder).verdict == (verdict, reason)
