"""Training again without flagged pairs: fewer poisons, from the model before poisoning, and repeatable as a request."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cleaner import FinetuneConfig, Run, finetune, load_data, load_run, poison, save_clip, save_run
from cleaner.attacks import TRIGGERS
from cleaner.data.base import CaptionData
from cleaner.data.poison import PoisonedData
from cleaner.defenses import DEFENSES
from cleaner.inspection.training_pairs import rebuild_training_pairs
from cleaner.jobs import execution, prediction
from cleaner.labels import FLAGGED_DEFENSE
from cleaner.models.weights import state_sha256
from cleaner.retrain import retrain_without
from cleaner.runs.request import Request, as_poisoning, load_request, make_retrain_request
from cleaner.runs.store import create_run, read_entry
from cleaner.types import CleanerError
from cleaner.variant import Variant
from tests.conftest import make_clip, make_toy_data

CONFIG = FinetuneConfig(lr=3e-3, epochs=3, batch_size=16, warmup_steps=4, precision="fp32", device="cpu")
TRIGGER = TRIGGERS["badnet"](patch_size=56)


@pytest.fixture(scope="module")
def backdoored(tmp_path_factory: pytest.TempPathFactory) -> Run:
    clean = make_clip()
    clean.source = str(save_clip(clean, tmp_path_factory.mktemp("clean") / "clean.safetensors"))
    return poison(clean, make_toy_data(), TRIGGER, "banana", poison_rate=0.25, config=CONFIG)


def rebuild(run: Run) -> Any:
    return rebuild_training_pairs(make_toy_data(), TRIGGER, run.manifest)


def test_it_is_the_training_of_the_clean_model_on_the_other_pairs(backdoored: Run) -> None:
    pairs, flagged = rebuild(backdoored), [*backdoored.manifest["poison_indices"][:8], 0]
    stages = set[str]()
    again = retrain_without(backdoored, pairs, flagged, detector="dao", on_step=lambda report: stages.add(report.stage))
    assert "compare images" not in stages, "the poisoned pairs are known"
    kept = [i for i in range(48) if i not in flagged]
    assert backdoored.clean_clip is not None
    expected = finetune(
        backdoored.clean_clip, pairs.subset(kept), DEFENSES["finetune"](), replace(CONFIG, device="auto")
    )
    assert state_sha256(again.clip.model.state_dict()) == state_sha256(expected.clip.model.state_dict())
    assert again.config["pairs"] == len(kept)
    assert again.config["overlap"] == {"pairs": len(kept), "poisoned": 12, "shared": 4}
    assert again.stage == again.clip.metadata["stage"] == "defended"
    assert again.metrics is not None
    assert again.metrics.asr is not None
    assert again.metrics.asr_clean_model == backdoored.metrics.asr_clean_model
    variant = Variant.from_config(again.config)
    assert variant.method == FLAGGED_DEFENSE
    assert variant.label == "Without 9 flagged pairs (DAO)"


def test_a_run_of_another_device_is_trained_on_the_one_at_hand(backdoored: Run, tmp_path: Path) -> None:
    finetune = {**backdoored.config["finetune"], "device": "mps", "epochs": 1}
    run = replace(backdoored, config={**backdoored.config, "finetune": finetune})
    assert make_request(save_run(run, tmp_path / "run"), [0]).finetune.device == "auto"
    assert retrain_without(run, rebuild(run), [0], detector="dao").config["finetune"]["device"] == "auto"


def test_poisoned_pairs_are_counted_where_their_images_stay(backdoored: Run) -> None:
    trigger = TRIGGERS["text_only"]()
    pairs = PoisonedData(make_toy_data(), trigger, "banana", 0.25, CONFIG.seed)
    run = replace(backdoored, trigger=trigger, manifest=pairs.manifest())
    again = retrain_without(run, pairs, pairs.poison_indices.tolist(), replace(CONFIG, epochs=1), detector="dao")
    assert again.config["overlap"] == {"pairs": 48 - len(pairs.poison_indices), "poisoned": 12, "shared": 0}


def test_flagged_pairs_can_be_a_mask(backdoored: Run) -> None:
    pairs = rebuild(backdoored)
    again = retrain_without(backdoored, pairs, pairs.is_poisoned, replace(CONFIG, epochs=1), detector="dao")
    assert again.config["overlap"] == {"pairs": 36, "poisoned": 12, "shared": 0}
    with pytest.raises(CleanerError, match="must be whole"):
        retrain_without(backdoored, pairs, [1.5], detector="dao")  # type: ignore[list-item]


def test_bad_input(backdoored: Run) -> None:
    pairs = rebuild(backdoored)
    for flagged, message in ((range(48), "would remain"), ([48], "from 0 to 47"), ([-1], "from 0 to 47")):
        with pytest.raises(CleanerError, match=message):
            retrain_without(backdoored, pairs, flagged, detector="dao")
    with pytest.raises(CleanerError, match="before poisoning"):
        retrain_without(replace(backdoored, clean_clip=None), pairs, [0], detector="dao")


def make_request(folder: Path, flagged: list[int]) -> Request:
    config = {"data_name": "toy", **json.loads((folder / "config.json").read_text())}
    return make_retrain_request(config, str(folder), flagged, "dao", total=48)


def test_the_request_of_a_run_repeats_it(backdoored: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {}

    def load_toy_data(name: str, split: str, size: int | None, **options: object) -> CaptionData:
        sizes[split] = size
        return make_toy_data()

    monkeypatch.setattr(execution, "load_data", load_toy_data)
    asked = replace(backdoored, config={**backdoored.config, "request": {"pairs": 50}})  # two images were broken
    folder, flagged = save_run(asked, tmp_path / "run"), backdoored.manifest["poison_indices"]
    request = make_request(folder, flagged)
    created = create_run(request, tmp_path / "runs")
    assert load_request(json.loads((created / "config.json").read_text())) == request
    entry = read_entry(created)
    assert entry is not None
    assert entry.defense == FLAGGED_DEFENSE
    run = execution.execute_request(load_request(json.loads((created / "config.json").read_text())))
    expected = retrain_without(load_run(folder), rebuild(backdoored), flagged, request.finetune, detector="dao")
    assert run.clip.sha256() == expected.clip.sha256()
    assert run.config["overlap"]["shared"] == 0
    assert sizes["train"] == 50
    saved = load_run(save_run(run, tmp_path / "again"))
    assert saved.config["request"]["excluded"] == flagged
    assert saved.clip.sha256() == run.clip.sha256()


def test_it_takes_as_long_as_the_poisoning(backdoored: Run, tmp_path: Path) -> None:
    request = make_request(save_run(backdoored, tmp_path / "run"), [1, 2])
    assert request.pairs == 46
    poisoning = as_poisoning(request)
    assert (poisoning.stage, poisoning.parent, poisoning.excluded) == ("backdoored", None, None)
    assert prediction.kind_of(request) == prediction.kind_of(poisoning)
    assert as_poisoning(poisoning) is poisoning


def test_old_requests_exclude_nothing() -> None:
    request = Request("backdoored", "scenes", 10, CONFIG, "scenes-rn")
    values = request.initial_config()
    del values["request"]["excluded"]
    assert load_request(values).excluded is None


def test_without_a_test_split_it_is_measured_on_unpoisoned_pairs(backdoored: Run) -> None:
    again = retrain_without(backdoored, rebuild(backdoored), [0], detector="dao")
    assert again.metrics is not None
    assert again.metrics.data_sha256 == make_toy_data().fingerprint()


def test_a_part_of_data_has_their_held_out_splits() -> None:
    data = load_data("scenes", size=40)
    part = PoisonedData(data, TRIGGER, "banana", 0.1).subset(range(20))
    test = part.load_split("test")
    assert test is not None
    assert test.name == "scenes/test"
