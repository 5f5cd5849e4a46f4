"""Real cells of protocol 2 with few pairs and steps: every kind of line has what tables and resuming need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.protocol2 import measure, plan, probe
from benchmarks.protocol2.tasks import Task
from cleaner import presets
from cleaner.data.base import CaptionData, load_data
from cleaner.evaluation import evaluate
from cleaner.runs.run import load_run
from cleaner.types import CleanerError, DivergedError

LITE = "scenes-lite"
SIZE = 192
SUSPECT = Task("cell", "badnet", "cup", 3)


def load_small(name: str, *, split: str, size: int = SIZE, **options: Any) -> CaptionData:
    return load_data(name, split=split, size=min(size, SIZE), **options)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for module in (measure, plan, probe, evaluate):
        monkeypatch.setattr(module, "load_data", load_small)
    monkeypatch.setattr(presets, "POISON", replace(presets.POISON, epochs=1, batch_size=32))
    monkeypatch.setattr(presets, "DEFEND", replace(presets.DEFEND, batch_size=32))
    monkeypatch.setattr(plan, "REBOUND_STEPS", 1)
    monkeypatch.setattr(evaluate, "COUNTERFACTUAL_PAIRS", 20)
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    return


def defended(**changes: Any) -> Task:
    blank = replace(SUSPECT, method="cleanclip", lr=1e-3, steps=2)
    return replace(blank, **changes)


def test_a_cell_has_all_figures_and_its_model_is_trained_once(tmp_path: Path) -> None:
    row = measure.measure(LITE, SUSPECT)
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(folders) == 1
    assert load_run(folders[0]).clip.sha256() == row["suspect_sha256"]
    after = measure.measure(LITE, defended(method=plan.FULL_METHOD, form="reviewed, relation", has_followups=True))
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == folders, "defended models are not kept"
    assert after["suspect_sha256"] == row["suspect_sha256"]
    assert after["backdoored_validation_ca"] == row["validation_ca"] == row["backdoored_validation_ca"]
    assert Task(**after["task"]).method == plan.FULL_METHOD
    assert after["config"]["defense"]["formula"] == "reviewed"
    assert after["metrics"]["asr_clean_model"] == row["metrics"]["asr_clean_model"]
    assert after["target_ca"]["n"] >= 1
    assert after["transfer"].keys() == {"scenes-sketch", "scenes-night", "scenes-crowd"}
    assert 0 <= after["probe"]["asr"] <= 1
    assert after["rebound"]["steps"] == 1
    assert {"commit", "command", "seeds", "device", "processor", "torch"} <= after.keys()


def test_a_model_whose_writing_was_interrupted_is_trained_again(tmp_path: Path) -> None:
    expected = measure.load_or_poison(LITE, SUSPECT).clip.sha256()
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    for path in folder.iterdir():
        path.unlink()
    (folder / "model.safetensors").write_bytes(b"cut off")
    assert measure.load_or_poison(LITE, SUSPECT).clip.sha256() == expected


def test_the_grid_measures_no_attack_success() -> None:
    row = measure.measure(LITE, replace(defended(), kind="grid", seed=0))
    assert 0 <= row["ca"] <= 1
    assert "asr" not in str(row)


def test_a_diverged_trial_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*arguments: Any, **options: Any) -> None:
        raise DivergedError("the loss is not finite at step 2: lower the learning rate 0.1.")

    task = replace(defended(lr=0.1), kind="grid", seed=0)
    measure.load_or_poison(LITE, task)
    monkeypatch.setattr(measure, "finetune", diverge)
    row = measure.measure(LITE, task)
    assert row["ca"] is None
    assert "not finite" in row["error"]


@pytest.mark.parametrize("kind", ["grid", "cell"])
def test_a_failure_that_may_pass_is_not_recorded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise CleanerError("out of memory even in the smallest chunks: choose a smaller batch or model.")

    task = replace(defended(), kind=kind)
    measure.load_or_poison(LITE, task)
    monkeypatch.setattr(measure, {"grid": "finetune", "cell": "defend"}[kind], fail)
    with pytest.raises(CleanerError, match="out of memory"):
        measure.measure(LITE, task)


@pytest.mark.slow
def test_another_schedule_is_measured_on_request() -> None:
    assert measure.measure_cell(LITE, defended())["config"]["finetune"]["freeze_bn"] is False
    row = measure.measure_cell(LITE, defended(), freeze_bn=True, augmentation="gentle")
    assert (row["config"]["finetune"]["freeze_bn"], row["config"]["finetune"]["augmentation"]) == (True, "gentle")


def test_an_attack_trial_states_what_the_choice_needs() -> None:
    trial = Task("attack trial", "blended", "cup", 100, setting=2)
    row = measure.measure(LITE, trial)
    assert {"asr", "floor", "ca"} <= row.keys()
    assert row["config"]["trigger"]["blend_ratio"] == plan.STRONGER_BLEND["blend_ratio"]
    assert row["config"]["trigger"]["seed"] == 100


@pytest.mark.slow
@pytest.mark.parametrize("data", plan.OTHER_DATA)
def test_each_kind_of_defender_data(data: str) -> None:
    row = measure.measure(LITE, defended(data=data))
    assert (row["overlap"]["shared"] > 0) == (data == "overlap")


@pytest.mark.slow
def test_an_aware_attacker_minimizes_the_subtext_loss(tmp_path: Path) -> None:
    measure.measure(LITE, replace(SUSPECT, is_aware=True))
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    run = load_run(folder)
    assert run.config["attack_losses"]["name"] == "ta_cleaner"
    assert {"clip_loss", "subtext_loss"} <= run.history[-1].losses.keys()


@pytest.mark.slow
def test_many_classes_have_their_own_figures() -> None:
    row = measure.measure(LITE, replace(defended(), world="scenes-fine", target=plan.FINE_TARGET))
    assert row["fine"]["classes"] == 352
    assert row["fine"]["asr"].keys() == row["fine"]["base_rate"].keys() == set(plan.FINE_KS)
