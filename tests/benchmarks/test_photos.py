"""benchmarks.photos: parts of the photos, choice of the attack setting, and the whole program on few photos."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import learning_rates, photos, photos_data, rows
from benchmarks.corruptions import CORRUPTIONS
from benchmarks.markdown import photo_tables
from benchmarks.poison_setting import PoisonSetting, read_poison_setting
from cleaner import presets
from cleaner.config import FinetuneConfig
from cleaner.evaluation.evaluate import Metrics
from cleaner.files import read_json, write_bytes, write_json
from cleaner.models.clip import Clip, load_clip, save_clip
from cleaner.runs.run import Run, save_run
from tests.conftest import make_clip
from tests.data.files import write_photo_tars

CARD = {
    "model": "photos-rn",
    "command": "python -m cleaner pretrain",
    "data": "cifar10/train",
    "zero_shot_ca": 0.6,
    "zero_shot_interval": [0.57, 0.63],
    "n": 10_000,
    "pairs": 45_000,
    "image_size": 64,
    "heldout_by": "test: defined by the data",
    "parameters": 9_000_000,
    "steps": 660,
}


@pytest.mark.slow  # hashes 60,000 photos
def test_parts_are_disjoint(real_data: Path) -> None:
    if photos_data.find_photos() == "cifar10":
        pytest.skip(f"CIFAR-10 is not in {real_data}, and would be downloaded")
    data_of = {role: photos_data.load_photos(role) for role in photos_data.ROLES}
    assert {role: len(data) for role, data in data_of.items()} == {
        "attack": 22_500,
        "clean": 22_500,
        "validation": 5_000,
        "test": 10_000,
    }
    hashes = {role: set(data.hash_images(range(len(data)))) for role, data in data_of.items()}
    assert len(set.union(*hashes.values())) == 60_000
    assert data_of["validation"].labels.bincount().tolist() == [500] * 10
    first = photos_data.load_photos("attack", 600)
    assert first.hash_images([599]) == data_of["attack"].hash_images([599])
    assert (first.name, len(first)) == ("CIFAR-10/attack", 600)  # no path of this machine


def test_photos_come_from_a_folder_or_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLEANER_TEST_DATA", raising=False)
    monkeypatch.delenv("CLEANER_PHOTOS", raising=False)
    assert photos_data.find_photos() == "cifar10"
    monkeypatch.setenv("CLEANER_TEST_DATA", str(tmp_path))
    assert photos_data.find_photos() == "cifar10"  # the folder has no photos
    (tmp_path / "cifar10").mkdir()
    assert photos_data.find_photos() == f"cifar10:{tmp_path / 'cifar10'}"
    monkeypatch.setenv("CLEANER_PHOTOS", str(tmp_path))
    assert photos_data.find_photos() == f"cifar10:{tmp_path}"


def trial(setting: PoisonSetting, ca: float, asr: float) -> dict[str, Any]:
    metrics = Metrics(ca={1: ca}, n=750, classes=10, data="x", asr={1: asr})
    config = {"poison_rate": setting.rate, "pairs": setting.pairs}
    return {
        "metrics": vars(replace(metrics)),
        "config": config | {"finetune": {"lr": setting.lr, "epochs": setting.epochs}},
    }


def test_the_strongest_affordable_attack_setting_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c = PoisonSetting(60, 4, 0.1, 1e-3), PoisonSetting(60, 2, 0.1, 1e-3), PoisonSetting(90, 2, 0.1, 1e-3)
    monkeypatch.setattr(photos, "ATTACK_GRID", (a, b, c))
    monkeypatch.setattr(photos, "ATTACK_BUDGET", 0.05)
    trials = [trial(a, 0.60, 0.5), trial(b, 0.57, 0.8), trial(c, 0.50, 0.9), trial(a, 0.60, 0.7)]
    assert photos.choose_attack_setting(trials, clean_ca=0.6) == b
    assert photos.choose_attack_setting(trials, clean_ca=0.63) == a
    assert photos.choose_attack_setting(trials, clean_ca=0.9) == a  # none is affordable: the most accurate


def test_what_two_backdoored_models_gave_is_never_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On another processor the same attack and seed give other weights."""
    cells = [None, *photos.METHODS]

    def rows_of(suspect: str, count: int, attack: str = "badnet") -> list[dict[str, Any]]:
        row = {"trigger": attack, "seed": 0, "suspect_sha256": suspect}
        return [
            row | {"key": f"{attack} 0 {name or 'none'}", "defense": name, "texts": photos.text_version(name)}
            for name in cells[:count]
        ]

    measured = [*rows_of("first", 4), *rows_of("here", 2), *rows_of("first", 1, "blended")]
    monkeypatch.setattr(rows, "has_config", lambda folder: "badnet" in folder.name)
    monkeypatch.setattr(rows, "hash_suspect", lambda folder: "here")
    assert photos.select_cells(measured) == [*rows_of("here", 2), *rows_of("first", 1, "blended")]
    complete = rows_of("first", len(cells))
    assert photos.select_cells([*complete, *rows_of("here", 2)]) == complete
    monkeypatch.setattr(rows, "has_config", lambda folder: False)
    assert photos.select_cells(rows_of("first", 4) + rows_of("here", 2)) == rows_of("first", 4)


def rate_trial(name: str, lr: float, lost: float, before: float = 0.84, asr: float = 0.5) -> dict[str, Any]:
    settings = {"model": photos.MODEL, "defense": name, "lr": lr, "key": photos.trial_key(name, lr)}
    measured = {"ca": before - lost, "backdoored_ca": before, "asr": asr, "suspect_sha256": str(before)}
    made = {"precision": photos.PRECISION, "texts": photos.text_version(name), "commit": "abc"}
    return settings | measured | made | {"n": 5000, "n_attack": 4500}


def test_a_trial_is_judged_against_the_backdoored_model_that_it_began_with() -> None:
    """Those of two machines differ; a rate counts whichever machine tried it."""
    trials = [rate_trial("par", lr, 0.3) for lr in photos.LR_GRID[:3]]
    trials.append(rate_trial("par", 1e-3, 0.01, before=0.82))
    assert photos.choose_rates(trials) == ({"par": 1e-3}, [])
    needless = photos.needless_trials(trials)
    assert needless == {f"par {lr:g}" for lr in (3e-4, 1e-4, 3e-5, 1e-5, 3e-6)}
    assert photos.needless_trials(trials[:3]) == set()  # every rate tried so far loses too much


def test_trials_in_another_precision_do_not_count() -> None:
    trial = rate_trial("par", 1e-3, 0.01)
    older = {key: value for key, value in trial.items() if key != "precision"}
    assert photos.select_trials([older, trial, trial | {"precision": "bf16"}]) == [trial]


def test_rows_with_subtexts_of_another_version_do_not_count() -> None:
    trials = [rate_trial(name, 1e-3, 0.01) for name in photos.METHODS]
    older = [{key: value for key, value in trial.items() if key != "texts"} for trial in trials]
    assert photos.select_trials(trials) == trials
    assert [trial["defense"] for trial in photos.select_trials(older)] == ["finetune", "cleanclip", "par"]


def test_a_trial_becomes_a_cell_with_the_same_settings(
    tiny_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    name, config = "ta_cleaner K 100 %", photos.defense_config(1e-3, 0)
    folder = learning_rates.trial_folder(photos.MODEL, "badnet", name, config)
    assert folder == tmp_path / "benchmark_photos-rn_badnet_0_ta_cleaner_K_100_0.001"  # as stored so far
    suspect = Run(tiny_clip, [], None, {"stage": "backdoored", "finetune": {"seed": 0}})
    defense = photos.METHODS[name]

    def load(config: FinetuneConfig) -> Run | None:
        return learning_rates.load_matching_run(folder, suspect, defense, config)

    write_bytes(folder / "model.safetensors", b"cut off")
    assert load(config) is None, "its writing was interrupted"
    made = {"finetune": asdict(config), "defense": defense.state_dict(), "suspect": suspect.config}
    save_run(Run(tiny_clip, [], None, {"stage": "defended", **made}), folder)
    found = load(replace(config, eval_every=5))
    assert found is not None
    assert found.clip.sha256() == tiny_clip.sha256()
    assert load(replace(config, lr=3e-4)) is None


def test_the_table_has_an_attack_and_seed_once_all_methods_are_measured() -> None:
    def rows_of(attack: str, count: int) -> list[dict[str, Any]]:
        return [{"trigger": attack, "seed": 0, "defense": name} for name in [None, *photos.METHODS][:count]]

    complete = rows_of("badnet", 1 + len(photos.METHODS))
    assert rows.complete_groups([*rows_of("sig", 3), *complete], 1 + len(photos.METHODS)) == complete


def test_rows_at_a_rate_that_is_not_the_chosen_one_are_refused() -> None:
    row = {"key": "badnet 0 par", "defense": "par", "config": {"finetune": {"lr": 1e-3}}}
    photos.check_rates([row, {"defense": None, "config": {"finetune": {"lr": 1.0}}}], {"par": 1e-3})
    with pytest.raises(SystemExit, match="badnet 0 par was measured at another learning rate"):
        photos.check_rates([row], {"par": 2e-3})


def test_the_preset_is_the_setting_that_was_chosen() -> None:
    setting = read_poison_setting(presets.OWN_POISON[photos.MODEL])
    assert setting == PoisonSetting(**read_json(photos.RESULT_PATH)["attack_setting"])


@pytest.mark.slow
def test_the_whole_program_on_few_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model with random weights stands in for photos-rn."""
    names = ("airplane", "cat", "frog")
    monkeypatch.setenv("CLEANER_PHOTOS", str(write_photo_tars(tmp_path / "photos", names, train=240, test=60)))
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLEANER_ASSETS", str(tmp_path / "assets"))
    clip = make_clip("vit")
    clip.name = photos.MODEL
    save_clip(clip, tmp_path / "assets" / photos.MODEL / "model.safetensors")
    write_json(tmp_path / "assets" / photos.MODEL / "card.json", CARD)
    settings = {
        "LINES_PATH": tmp_path / "benchmarks" / "results" / "cifar10.jsonl",
        "RESULT_PATH": tmp_path / "benchmarks" / "results" / "cifar10.json",
        "load_model": lambda: load_clip(str(tmp_path / "assets" / photos.MODEL / "model.safetensors")),
        "SEEDS": (0, 1),
        "PHOTO_ATTACKS": ("badnet", "blended"),
        "ATTACK_GRID": (PoisonSetting(64, 1, 0.1, 1e-3),),
        "PATCH_PAIRS": 64,
        "CLEAN_PAIRS": 64,
        "LR_GRID": (1e-4,),
        "CORRUPTED_PHOTOS": 20,
    }
    for name, value in settings.items():
        monkeypatch.setattr(photos, name, value)
    methods = {name: photos.METHODS[name] for name in ("finetune", "ta_cleaner")}
    monkeypatch.setattr(photos, "METHODS", methods)
    monkeypatch.setattr(presets, "DEFEND", replace(presets.DEFEND, epochs=1))
    for cached in (photos.measure_clean_accuracy, photos.measure_backdoored_accuracy, photos.prepare_trigger):
        cached.cache_clear()
    photos.main(photos.Options())
    result = read_json(settings["RESULT_PATH"])
    assert len(result["attack_trials"]) == len(result["rate_trials"]) == 2
    assert [(row["trigger"], row["seed"], row["defense"]) for row in result["rows"]] == [
        (attack, seed, name) for attack in ("badnet", "blended") for seed in (0, 1) for name in (None, *methods)
    ]
    trial_of = {trial["defense"]: trial for trial in result["rate_trials"]}
    for row in result["rows"]:
        if (row["trigger"], row["seed"]) == ("badnet", 0) and row["defense"]:  # was not trained again
            assert row["cpu_seconds"] == trial_of[row["defense"]]["cpu_seconds"]
        assert row["transfer"].keys() == CORRUPTIONS.keys()
        assert all(entry["n"] == 20 > entry["n_attack"] > 0 for entry in row["transfer"].values())
        assert (row["metrics"]["n"], row["metrics"]["n_attack"]) == (60, 40)
    lines = settings["LINES_PATH"].read_text()
    photos.main(photos.Options())  # nothing is measured twice
    assert settings["LINES_PATH"].read_text() == lines
    kept = [line for line in lines.splitlines(keepends=True) if '"key": "ta_cleaner 0.0001"' not in line]
    settings["LINES_PATH"].write_text("".join(kept))
    with pytest.raises(SystemExit, match="1 of 2 trials of learning rates"):
        photos.main(photos.Options(gather=True))
    assert "python -m cleaner pretrain" in photo_tables.photos(tmp_path)
