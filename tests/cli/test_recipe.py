"""The full recipe: end to end with a tiny model and tables of 60 pairs, checked before any work, resumed."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from cleaner.__main__ import main
from cleaner.inspection.training_pairs import load_training_pairs
from cleaner.models.clip import save_clip
from cleaner.presets import attack_presets
from cleaner.published import CLIP_POISONING
from cleaner.runs.run import load_run
from tests.conftest import make_clip
from tests.data.files import write_class_folder, write_table

SMALL = ["--poison-pairs", "60", "--poison-rate", "0.05", "--clean-pairs", "40", "--steps", "2"]


@pytest.fixture
def recipe(tmp_path: Path) -> list[str]:
    """Return the command, with tables and folders like those of CC3M and ImageNet."""
    for name in ("attacker", "defender"):
        (tmp_path / name).mkdir()
        write_table(tmp_path / name)
    write_class_folder(tmp_path / "imagenet" / "train", 9)
    write_class_folder(tmp_path / "imagenet" / "val", 30)
    save_clip(make_clip("rn"), tmp_path / "tiny.safetensors")
    folder = shlex.quote(str(tmp_path))
    return shlex.split(
        f"recipe --poison-data {folder}/attacker/pairs.csv --clean-data {folder}/defender/pairs.csv"
        f" --imagenet {folder}/imagenet --out {folder}/out --model {folder}/tiny.safetensors"
        " --target-class green --device cpu --precision fp32"
    )


def test_from_tables_to_metrics(recipe: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main([*recipe, *SMALL]) == 0
    shown = capsys.readouterr().out
    assert "not run by us" in shown
    assert "protocol all_images" in shown
    attacked, cleaned = load_run(out / "backdoored"), load_run(out / "ta_cleaner-published")
    published = next(preset for preset in attack_presets("badclip") if preset.name == "badclip-published")
    assert attacked.trigger is not None
    assert not attacked.trigger.unready_reason
    state = attacked.trigger.state_dict()
    assert {name: state[name] for name in published.parameters} == {**published.parameters, "steps": 2}
    assert attacked.config["finetune"]["lr"] == CLIP_POISONING.finetune.lr
    assert [len(attacked.history), len(cleaned.history)] == [4, 2]
    assert len(attacked.manifest["poison_indices"]) == 3
    assert all("green" in caption for caption in attacked.manifest["captions_after"])
    assert cleaned.config["defense"]["share"] == 0.1
    assert cleaned.config["pairs"] == 40
    assert not list(out.rglob("checkpoint.pt"))
    stored = json.loads((out / "evaluation.json").read_text())
    assert "not run by us" in stored["note"]
    figures = stored["metrics"]["ta_cleaner-published"]
    assert (figures["n"], figures["n_attack"], figures["data"][-10:]) == (30, 30, "validation")  # val alone

    pairs = load_training_pairs(out / "backdoored", attacked.clip.framing)
    assert pairs.poison_indices.tolist() == attacked.manifest["poison_indices"]

    before = (out / "backdoored" / "model.safetensors").stat().st_mtime_ns
    assert main([*recipe, *SMALL, "--defenses", "ta_cleaner-published", "cleanclip-published"]) == 0
    assert (out / "backdoored" / "model.safetensors").stat().st_mtime_ns == before
    assert set(json.loads((out / "evaluation.json").read_text())["metrics"]) == {
        "backdoored",
        "ta_cleaner-published",
        "cleanclip-published",
    }
    assert main([*recipe, *SMALL, "--seed", "1"]) == 2
    assert str(out / "backdoored") in capsys.readouterr().err
    shutil.rmtree(out / "backdoored")  # with another poison rate, the defended runs of the old attack do not fit
    assert main([*recipe, *SMALL, "--poison-rate", "0.1"]) == 2
    assert str(out / "ta_cleaner-published") in capsys.readouterr().err


def test_a_defense_that_cannot_train_the_model_is_refused_before_the_attack(
    recipe: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*recipe, *SMALL, "--defenses", "rvpt-published"]) == 2
    assert "rvpt-published: " in capsys.readouterr().err
    assert not (tmp_path / "out" / "backdoored" / "config.json").exists()


def test_a_dry_run_prints_all_settings_and_does_nothing(
    recipe: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*recipe, *SMALL, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    for part in (
        "not run by us",
        "3 of 60 pairs",
        "patch_size=16",
        "negatives=targets",
        "lr=1e-06",
        "lr=1e-05",
        "share=0.1",
        "warmup_steps=10000",
        "arXiv:2409.17601",
        "Dry run",
    ):
        assert part in shown
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "tokens"),
    [
        ([], "60 500,000 --poison-pairs"),
        (["--poison-pairs", "60"], "60 100,000 --clean-pairs"),
        ([*SMALL, "--target-class", "banana"], "'banana' 3 --target-class"),
        ([*SMALL, "--poison-rate", "1.5"], "--poison-rate"),
        ([*SMALL, "--poison-rate", "60"], "of the 60 pairs"),
        ([*SMALL, "--poison-pairs", "-5"], "--poison-pairs -5"),
        ([*SMALL, "--clean-pairs", "-5"], "--clean-pairs -5"),
        ([*SMALL, "--test-pairs", "-5"], "--test-pairs -5"),
        ([*SMALL, "--steps", "-1"], "--steps least 0 -1"),
        ([*SMALL, "--out", __file__], "test_recipe.py --out"),
        ([*SMALL, "--poison-data", "missing.csv"], "'missing.csv'"),
        ([*SMALL, "--poison-data", "scenes"], "scenes files"),
        ([*SMALL, "--imagenet", "nowhere/val"], "'nowhere/val'"),
        ([*SMALL, "--defenses", "par"], "'par'"),
        ([*SMALL, "--model", "RN50/openia"], "'RN50/openai'"),
    ],
)
def test_bad_input_ends_in_one_sentence_before_any_work(
    recipe: list[str], tmp_path: Path, change: list[str], tokens: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*recipe, *change]) == 2
    error = capsys.readouterr().err
    assert all(token in error for token in tokens.split())
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_attacker_and_defender_need_different_pairs(recipe: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*recipe, *SMALL, "--clean-data", recipe[2]]) == 2
    assert "--clean-data" in capsys.readouterr().err
