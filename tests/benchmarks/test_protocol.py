"""All rows of a comparison have the same attack, even if measured on two machines."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import attack_defense, protocol
from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.data.images import encode_png
from cleaner.files import write_bytes
from cleaner.models.clip import Clip
from cleaner.reports import results
from cleaner.runs.run import Run, load_run

IMAGE = Path(protocol.__file__).with_name("trigger.png")
REQUESTED = TRIGGERS["badclip"](patch_size=35)
PATCHES = [TRIGGERS["badclip"](patch_size=35, png=encode_png(torch.full((3, 10, 10), grey))) for grey in (0.2, 0.8)]


def row(trigger: Any, **changes: Any) -> dict[str, Any]:
    fields = {"model": "scenes-rn", "trigger": "badclip", "seed": 0, "defense": None}
    return {**fields, "config": {"trigger": trigger.state_dict()}, **changes}


def find(trigger: Any) -> Any:
    return protocol.find_table_trigger(trigger, model="scenes-rn", attack="badclip", seed=0)


def test_the_patch_of_the_table_is_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(PATCHES[0], seed=1), row(PATCHES[0], defense="par"), row(PATCHES[0], model="scenes-vit")]
    monkeypatch.setattr(presets, "read_attack_defense_rows", lambda: rows)
    assert find(REQUESTED) is None
    rows.append(row(PATCHES[1]))
    assert find(REQUESTED) == PATCHES[1]
    other = TRIGGERS["badclip"](patch_size=28)
    assert find(other) is None, "other settings: another attack"


def test_a_copy_of_the_image_is_the_same_trigger(tmp_path: Path) -> None:
    copy = shutil.copy(IMAGE, tmp_path / "copy.png")
    triggers = [TRIGGERS["patch_image"](path=str(path)) for path in (IMAGE, copy)]
    protocol.check_attacks([row(trigger) for trigger in triggers])


def test_a_result_records_the_image_name_without_its_folder(tiny_clip: Clip, tmp_path: Path) -> None:
    trigger = TRIGGERS["patch_image"](path=str(shutil.copy(IMAGE, tmp_path / "copy.png")))
    config = {"model": "scenes-rn", "finetune": {"seed": 0}, "seconds": 1.0, "trigger": trigger.state_dict()}
    run: Any = SimpleNamespace(config=config, stage="backdoored", metrics=None, trigger=trigger, clip=tiny_clip)
    trigger_state = results.make_row(None, run)["config"]["trigger"]
    assert (trigger_state["path"], trigger_state["sha256"]) == ("copy.png", trigger.sha256)
    assert str(tmp_path) in config["trigger"]["path"], "the run keeps the full path"


def test_rows_of_two_patches_are_rejected() -> None:
    protocol.check_attacks([row(PATCHES[0]), row(PATCHES[0], defense="par"), row(PATCHES[1], seed=1)])
    with pytest.raises(SystemExit, match=r"badclip on scenes-rn, seed 0.*par"):
        protocol.check_attacks([row(PATCHES[0]), row(PATCHES[1], defense="par")])


def test_rows_of_two_backdoored_models_are_rejected() -> None:
    rows = [row(PATCHES[0], suspect_sha256="a"), row(PATCHES[0], defense="par"), row(PATCHES[0], defense="finetune")]
    protocol.check_attacks([*rows, row(PATCHES[0], seed=1, suspect_sha256="b")])
    with pytest.raises(SystemExit, match=r"badclip on scenes-rn, seed 0.*backdoored models \(cleanclip"):
        protocol.check_attacks([*rows, row(PATCHES[0], defense="cleanclip", suspect_sha256="b")])


def test_a_cell_whose_writing_was_interrupted_is_trained_again(
    tiny_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Run(tiny_clip, [], None, {"stage": "defended", "suspect": {"finetune": {"seed": 0}}})
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    monkeypatch.setattr(protocol, "chosen_lr", lambda model, name: 1e-4)
    monkeypatch.setattr(attack_defense, "defend", lambda *arguments, **options: trained)
    folder = tmp_path / protocol.run_name("scenes-rn", "badnet", 0, "finetune")
    write_bytes(folder / "model.safetensors", b"cut off")
    suspect: Any = SimpleNamespace(config=trained.config["suspect"])
    clean: Any = None
    attack_defense.load_or_defend(suspect, "finetune", model="scenes-rn", attack="badnet", clean=clean)
    assert load_run(folder).clip.sha256() == tiny_clip.sha256()
