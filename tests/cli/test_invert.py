"""The command invert: writes a result that evaluate and unlearn_trigger use; one sentence for bad input."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from cleaner.__main__ import main
from cleaner.data.base import CaptionData
from cleaner.data.images import encode_png
from cleaner.inspection.inversion import InversionConfig
from cleaner.models.clip import Clip
from cleaner.runs.inversion_result import NOT_CONVERGED, Inversion, locate_inversion, read_inversion
from cleaner.types import OnStep, StepReport
from tests.attacks.test_inverted import make_layers
from tests.data.files import write_table

FEW = ["--images", "24", "--search-steps", "60", "--search-batch", "2", "--patch-steps", "12", "--batch-size", "4"]


def find_anything(clip: Clip, data: CaptionData, config: InversionConfig, on_step: OnStep, **attack: Any) -> Inversion:
    """In place of `invert`: an untrained model may have no class that gives way."""
    on_step(StepReport("invert", 1, 1, 0.0))
    classes = {name: 1.0 + number for number, name in enumerate(data.class_names)}
    known = {"target_class": attack["target_class"], "iou": 0.1, "inside": 0.5, "true_asr": 0.9}
    found = Inversion(
        model=clip.name,
        data=data.name,
        classes=classes,
        suspect=data.class_names[0],
        settings=asdict(config),
        seconds=1.0,
        **known,
    )
    return replace(found, asr=0.5, interval=(0.4, 0.6), n=10, masked_share=0.1, png=encode_png(make_layers()))


def test_the_result_is_used_by_evaluate_and_the_defense(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cleaner.inspection.inversion.invert", find_anything)
    assert main(["invert", str(run), *FEW]) == 0
    shown = capsys.readouterr()
    assert "Suspect: " in shown.out
    assert "An estimate" in shown.out
    assert "Known attack: " in shown.out
    assert NOT_CONVERGED in shown.out
    assert "Finding patch and mask: " in shown.err
    folder = locate_inversion(run)
    found = read_inversion(folder)
    assert found is not None
    assert (found.target_class, found.data) == ("banana", "scenes/clean")
    assert len(found.classes) == 32
    assert main(["evaluate", str(run), "--trigger", str(folder), "--test-pairs", "40", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert "1" in printed["asr"]
    assert printed["is_estimate"]
    assert main(["evaluate", str(run), "--trigger", str(folder), "--test-pairs", "40"]) == 0
    assert "an estimate" in capsys.readouterr().out
    assert printed["target_class"] == found.suspect != found.target_class, "the trigger opens the suspect class"
    small = ["--pairs", "32", "--test-pairs", "40", "--epochs", "1", "--batch-size", "16", "--no-film"]
    defense = ["--defense", "unlearn_trigger", "triggered_share=0.25"]
    assert main(["defend", str(run), *defense, *small, "--out", str(tmp_path / "clean")]) == 0
    state = json.loads((tmp_path / "clean" / "config.json").read_text())["defense"]
    assert (state["path"], state["png"]) == (str(folder / "trigger.png"), found.png)


def test_of_a_model_without_a_run(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(write_table(tmp_path, 60)), "classes=red,green,blue"]
    out = ["--out", str(tmp_path / "found")]
    model = str(run / "model.safetensors")
    assert main(["invert", model, *data, *FEW, *out, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed["classes"]) == {"red", "green", "blue"}
    assert printed["target_class"] is None
    assert main(["invert", model, *data, *FEW, *out]) == 2
    assert "not overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scenes-rn", "--images", "2"], "images must be between 4"),
        (["nowhere.pt"], "nowhere.pt"),
        (["scenes-rn", "--data", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_invalid_input_ends_with_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["invert", *arguments]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
