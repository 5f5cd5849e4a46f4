"""Real cells of protocol 2 with few pairs and steps: every kind of line has what tables and resuming need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.protocol2 import measure, plan, probe
from benchmarks.protocol2.tasks import Task
from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.data.base import CaptionData, TensorData, load_data
from cleaner.data.poison import PoisonedData
from cleaner.evaluation import evaluate
from cleaner.evaluation.bootstrap import pack_outcomes
from cleaner.models.clip import Clip
from cleaner.runs.run import Run, load_run
from cleaner.types import CleanerError, DivergedError
from cleaner.workflow import rebound

LITE = "scenes-lite"
SIZE = 192
SUSPECT = Task("cell", "badnet", "cup", 3)


def load_small(name: str, *, split: str, size: int = SIZE, **options: Any) -> CaptionData:
    return load_data(name, split=split, size=min(size, SIZE), **options)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs for all tests that do not look into it: each backdoored model is trained once."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, runs: Path) -> None:
    for module in (measure, plan, probe, evaluate):
        monkeypatch.setattr(module, "load_data", load_small)
    monkeypatch.setattr(presets, "POISON", replace(presets.POISON, epochs=1, batch_size=32))
    monkeypatch.setattr(presets, "DEFEND", replace(presets.DEFEND, batch_size=32))
    monkeypatch.setattr(plan, "REBOUND_STEPS", 1)
    monkeypatch.setattr(evaluate, "COUNTERFACTUAL_PAIRS", 20)
    monkeypatch.setenv("CLEANER_RUNS", str(runs))


def make_labeled(labels: list[int], names: list[str], side: int = 1) -> TensorData:
    return TensorData(torch.zeros(len(labels), 3, side, side), ["x"] * len(labels), names, labels)


def defended(**changes: Any) -> Task:
    blank = replace(SUSPECT, method="cleanclip", lr=1e-3, steps=2)
    return replace(blank, **changes)


def test_a_cell_has_all_figures_and_its_model_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    rebounds: list[Run] = []

    def record(*arguments: Any, **options: Any) -> Run:
        rebounds.append(rebound(*arguments, **options))
        return rebounds[-1]

    monkeypatch.setattr(measure, "rebound", record)
    row = measure.measure(LITE, SUSPECT)
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(folders) == 1
    suspect = load_run(folders[0]).clip
    assert suspect.sha256() == row["suspect_sha256"]
    accuracy = measure.validation_accuracy(suspect, load_small("scenes", split="validation"))
    assert row["validation_ca"] == accuracy != row["metrics"]["ca"][1]
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
    (again,) = rebounds
    schedule = again.config["finetune"]
    assert (len(again.history), schedule["lr"], schedule["seed"]) == (1, plan.REBOUND_LR, SUSPECT.seed)
    assert {"commit", "command", "seeds", "device", "processor", "torch"} <= after.keys()


def test_target_accuracy_is_that_of_images_of_the_target() -> None:
    test = make_labeled([0, 1, 1, -1, 0], ["cup", "kite"])
    metrics = SimpleNamespace(outcomes={"ca": pack_outcomes(torch.tensor([True, True, False, True]).numpy())})
    run: Any = SimpleNamespace(metrics=metrics, target_class="kite")
    assert measure.target_accuracy(run, test) == {"ca": 0.5, "n": 2}


def test_the_probe_learns_on_clean_pairs_and_attacks_other_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    class ClassEncoder:
        """Sees the class of a clean image, and the target in each triggered one."""

        def __init__(self, clip: Clip) -> None: ...

        def encode_rows(self, data: CaptionData, rows: Tensor, trigger: object = None) -> Tensor:
            return torch.eye(2)[data.labels[rows] if trigger is None else torch.ones(len(rows), dtype=torch.long)]

    splits = {"clean": make_labeled([0, 1, 0, 1, 0, 1], ["cup", "kite"])}
    monkeypatch.setattr(probe, "load_data", lambda name, split: splits[split])
    monkeypatch.setattr(probe, "Encoder", ClassEncoder)
    run: Any = SimpleNamespace(trigger=object(), target_class="kite", clip=None)
    found = probe.probe_labels(run, make_labeled([0, 1, 1, -1, 0], ["cup", "kite"]))
    assert found == {"pairs": 6, "ca": 1.0, "n": 4, "asr": 1.0, "n_attack": 2}


def test_fine_figures_leave_out_all_objects_of_the_targets_kind(tiny_clip: Clip) -> None:
    names = ["yellow banana", "red banana", *(f"{color} cup" for color in "abcdefgh")]
    run: Any = SimpleNamespace(
        clip=tiny_clip, trigger=TRIGGERS["badnet"](), target_class="yellow banana", clean_clip=None
    )
    found = measure.measure_fine(run, make_labeled([0, 1, 2, -1, 3], names, side=32))
    assert (found["n_attack"], found["classes"]) == (2, 10)


def test_the_defenders_pairs_are_what_their_names_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "load_data", load_data)
    config = {"finetune": {"seed": 3}, "pairs": 40}
    suspect: Any = SimpleNamespace(trigger=TRIGGERS["badnet"](), target_class="kite", config=config)
    pairs = {name: load(suspect) for name, load in plan.DEFENDER_DATA.items()}
    assert [len(data) for data in pairs.values()] == [6000, 40, 500, 1500, 6000, 6000]
    assert {name for name, data in pairs.items() if data.name == "scenes/train"} == {"overlap"}
    usual, full = (load_data("scenes", split="train", size=40, **kind) for kind in ({}, {"captions": "full"}))
    assert pairs["overlap"].captions == full.captions != usual.captions
    poisoned = {name: int(data.is_poisoned.sum()) for name, data in pairs.items() if isinstance(data, PoisonedData)}
    assert poisoned == {"0.1 % poisoned": 6, "1 % poisoned": 60}


def test_a_model_whose_writing_was_interrupted_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
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
        raise DivergedError("the loss is not finite at step 2: lower the learning rate (now 0.1).")

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
def test_an_aware_attacker_minimizes_the_subtext_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
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
