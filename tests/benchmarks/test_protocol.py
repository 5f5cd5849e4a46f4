"""The origin of a result: the files and the commit that it came from."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks import protocol
from cleaner.attacks import TRIGGERS
from cleaner.models.clip import Clip
from cleaner.reports import results

IMAGE = Path(protocol.__file__).with_name("trigger.png")


def test_a_result_records_the_image_name_without_its_folder(tiny_clip: Clip, tmp_path: Path) -> None:
    trigger = TRIGGERS["patch_image"](path=str(shutil.copy(IMAGE, tmp_path / "copy.png")))
    config = {"model": "scenes-rn", "finetune": {"seed": 0}, "seconds": 1.0, "trigger": trigger.state_dict()}
    run: Any = SimpleNamespace(config=config, stage="backdoored", metrics=None, trigger=trigger, clip=tiny_clip)
    trigger_state = results.make_row(None, run)["config"]["trigger"]
    assert (trigger_state["path"], trigger_state["sha256"]) == ("copy.png", trigger.sha256)
    assert str(tmp_path) in config["trigger"]["path"], "the run keeps the full path"
