"""The command detect: figures of every detector, a second training, and one sentence for bad input."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from cleaner.__main__ import main
from cleaner.cli import inputs
from cleaner.cli.inputs import resolve_trigger
from cleaner.data.base import CaptionData
from cleaner.detectors.base import find_detectors
from cleaner.files import read_json, write_json
from cleaner.models.clip import load_clip
from tests.cases import read_cases


def test_pairs_and_images(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["detect", str(run), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed["figures"]) == list(find_detectors("pairs"))
    assert printed["pairs"] == 64
    assert printed["figures"]["dao"]["poisoned"] == 13
    assert len(printed["top"]) == 10
    dao = ["--detector", "dao", "k=4", "--clean-reference", "--reference", "20", "--top", "3"]
    assert main(["detect", str(run), *dao]) == 0
    shown = capsys.readouterr().out
    _, listed = shown.split("Most suspicious by")
    assert sum(line[:1].isdigit() for line in listed.splitlines()) == 3
    assert "13 poisoned" in shown
    assert sum(line.rstrip().startswith("k_distance") for line in shown.splitlines()) == 0
    splits: list[str] = []
    load_split = inputs.load_split

    def record(data: tuple[str, dict[str, Any]], split: str, size: int | None = None) -> CaptionData:
        splits.append(split)
        return load_split(data, split, size)

    monkeypatch.setattr(inputs, "load_split", record)
    assert main(["detect", str(run), "--question", "image", "--images", "20", "--json"]) == 0
    assert splits == ["test", "validation"]
    images = json.loads(capsys.readouterr().out)
    assert list(images) == list(find_detectors("image"))
    assert [t["allowed"] for t in images["masking"]["thresholds"]] == [0.01, 0.05]
    assert main(["detect", str(run), "--question", "image", "--detector", "masking", "--images", "20"]) == 0
    assert "from 20 clean validation images. These are too few for 1% false alarms" in capsys.readouterr().out


def test_pairs_without_a_poisoned_one_are_ranked(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = min(json.loads((run / "manifest.json").read_text())["poison_indices"])
    few = ["detect", str(run), "--pairs", str(first), "--reference", "1", "--detector", "clip_score"]
    assert main([*few, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["figures"], len(printed["top"])) == ({}, min(first, 10))
    assert main(few) == 0
    assert "score more pairs (--pairs)" in capsys.readouterr().out


def test_detectors_without_enough_reference_pairs_are_skipped(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", str(run), "--pairs", "10", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed["skipped"]) >= {"k_distance", "slof", "dao", "local_outlier_factor"}
    assert set(printed["figures"]) >= {"clip_score", "isolation_forest"}
    assert sorted([*printed["skipped"], *printed["figures"]]) == sorted(find_detectors("pairs"))
    assert main(["detect", str(run), "--pairs", "10"]) == 0
    assert "Skipped" in capsys.readouterr().out


def test_train_without(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--detector", "clip_score", "--train-without", "10", "--out", str(tmp_path / "again")]
    assert main(["detect", str(run), *options]) == 0
    assert "without 10 flagged" in capsys.readouterr().out
    assert main(["detect", str(run), "--json", *options[:-1], str(tmp_path / "as_json")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["pairs"], result["retrained"]["folder"]) == (64, str(tmp_path / "as_json"))
    assert main(["detect", str(run), *options]) == 2
    assert capsys.readouterr().err.startswith("error: "), "the folder is taken, which is known before any progress"
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert (config["stage"], config["pairs"]) == ("defended", 54)
    assert len(config["request"]["excluded"]) == 10
    assert config["parent"] == str(run)


def test_train_without_needs_the_clean_model_before_it_scores_pairs(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    config = read_json(moved / "config.json")
    write_json(moved / "config.json", config | {"clean_model": str(tmp_path / "gone.safetensors")})
    assert main(["detect", str(moved), "--train-without", "5", "--out", str(tmp_path / "again")]) == 2
    shown = capsys.readouterr()
    assert "the model before poisoning is gone" in shown.err
    assert "encode" not in shown.err
    assert not shown.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    read_cases(__file__, "bad_detect"),
)
def test_bad_input_is_one_sentence(run: Path, arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", str(run), *shlex.split(arguments)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error


def test_a_run_is_needed(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", str(tmp_path)]) == 2
    assert "there is no run" in capsys.readouterr().err
    for name in ("config.json", "model.safetensors", "metrics.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    write_json(tmp_path / "manifest.json", {})
    assert main(["detect", str(tmp_path)]) == 2
    assert "manifest.json" in capsys.readouterr().err


def test_a_stored_run_is_named_as_it_is_listed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    shutil.copytree(run, tmp_path / "runs" / "my-attack")
    assert main(["detect", "my-attack", "--detector", "clip_score", "--json"]) == 0
    capsys.readouterr()
    assert main(["report", "my-attack", str(run), "--out", str(tmp_path / "report.html")]) == 0
    assert main(["export", "my-attack", "--out", str(tmp_path / "x.safetensors")]) == 0
    assert "Exported" in (shown := capsys.readouterr().out)
    assert "my-attack" in shown
    shutil.copytree(run, tmp_path / "runs" / "blended")
    for name in ("my-attack", "blended"):
        assert resolve_trigger([name]).state_dict()["name"] == ("badnet" if name == "my-attack" else "blended")


def test_a_run_with_a_trigger_of_another_module_says_so_and_its_model_is_exported(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    folder = tmp_path / "haze"
    shutil.copytree(run, folder)
    write_json(folder / "config.json", read_json(folder / "config.json") | {"trigger": {"name": "my_haze"}})
    for command in (
        ["detect", str(folder)],
        ["evaluate", str(folder), "--trigger", str(folder), "--target-class", "banana"],
        ["sweep", str(folder), "--defenses", "finetune"],
    ):
        assert main(command) == 2
        assert "'my_haze' of the run haze is not registered: import the Python module" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert main(["export", str(folder), "--out", str(tmp_path / "x.safetensors")]) == 0
    assert load_clip(str(tmp_path / "x.safetensors")).sha256() == load_clip(str(run / "model.safetensors")).sha256()


def test_weights_have_the_mode_of_the_other_files(run: Path) -> None:
    modes = {file.stat().st_mode for file in (run / "model.safetensors", run / "metrics.json")}
    assert len(modes) == 1
