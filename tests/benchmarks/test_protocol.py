"""What the comparison holds equal: the attack, also where its rows were measured on two machines."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import protocol
from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.data.images import encode_png
from cleaner.models.clip import Clip
from cleaner.reports import results

ASKED = TRIGGERS["badclip"](patch_size=35)
PATCHES = [TRIGGERS["badclip"](patch_size=35, png=encode_png(torch.full((3, 10, 10), grey))) for grey in (0.2, 0.8)]


def row(trigger: Any, **changes: Any) -> dict[str, Any]:
    known = {"model": "scenes-rn", "trigger": "badclip", "seed": 0, "defense": None}
    return {**known, "config": {"trigger": trigger.state_dict()}, **changes}


def test_the_patch_of_the_table_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(PATCHES[0], seed=1), row(PATCHES[0], defense="par"), row(PATCHES[0], model="scenes-vit")]
    monkeypatch.setattr(presets, "read_attack_defense_rows", lambda: rows)
    assert protocol.find_table_trigger("scenes-rn", "badclip", 0, ASKED) is None
    rows.append(row(PATCHES[1]))
    assert protocol.find_table_trigger("scenes-rn", "badclip", 0, ASKED) == PATCHES[1]
    other = TRIGGERS["badclip"](patch_size=28)
    assert protocol.find_table_trigger("scenes-rn", "badclip", 0, other) is None, "other settings: another attack"


def test_a_copy_of_the_picture_is_the_same_trigger(tmp_path: Path) -> None:
    copy = shutil.copy("benchmarks/trigger.png", tmp_path / "copy.png")
    pictures = [TRIGGERS["patch_image"](path=str(path)) for path in ("benchmarks/trigger.png", copy)]
    protocol.check_attacks([row(picture) for picture in pictures])


def test_a_result_names_the_picture_and_not_its_place(tiny_clip: Clip, tmp_path: Path) -> None:
    trigger = TRIGGERS["patch_image"](path=str(shutil.copy("benchmarks/trigger.png", tmp_path / "copy.png")))
    config = {"model": "scenes-rn", "finetune": {"seed": 0}, "seconds": 1.0, "trigger": trigger.state_dict()}
    run: Any = SimpleNamespace(config=config, stage="backdoored", metrics=None, trigger=trigger, clip=tiny_clip)
    stored = results.make_row(None, run)["config"]["trigger"]
    assert (stored["path"], stored["sha256"]) == ("copy.png", trigger.sha256)
    assert str(tmp_path) in config["trigger"]["path"], "the run keeps its own"


def test_rows_of_two_patches_are_not_put_together() -> None:
    protocol.check_attacks([row(PATCHES[0]), row(PATCHES[0], defense="par"), row(PATCHES[1], seed=1)])
    with pytest.raises(SystemExit, match=r"badclip on scenes-rn, seed 0.*par"):
        protocol.check_attacks([row(PATCHES[0]), row(PATCHES[1], defense="par")])
