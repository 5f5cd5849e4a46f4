"""Probe and transfer before any defense, with few images."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import undefended
from benchmarks.protocol2 import plan, probe
from benchmarks.tasks import TaskFile
from cleaner.data.base import CaptionData, load_data
from cleaner.evaluation import evaluate
from cleaner.files import assets
from cleaner.models.clip import load_clip
from cleaner.runs.run import load_run
from tests.benchmarks.protocol2.simulated import FIRST_TARGET, SECOND_TARGET

LITE = "scenes-lite"


def load_small(name: str, *, split: str, size: int = 192) -> CaptionData:
    return load_data(name, split=split, size=min(size, 192))


def test_every_attack_and_seed_of_the_main_tables_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undefended, "list_targets", lambda _: [FIRST_TARGET, SECOND_TARGET])
    cells = list(undefended.tasks(LITE))
    assert len(cells) == len(plan.JUDGES) * 5 + 4 * 3 + 1
    assert f"badclip {SECOND_TARGET} 3" in cells
    assert f"ssba {FIRST_TARGET} 5" in cells


def test_the_clean_model_stands_beside_the_backdoored_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    backdoored = load_run(assets() / "example" / "example-badnet")
    for module in (undefended, probe, evaluate):
        monkeypatch.setattr(module, "load_data", load_small)
    monkeypatch.setattr(undefended, "LINES_PATH", tmp_path / "lines.jsonl")
    monkeypatch.setattr(undefended, "list_targets", lambda _: [FIRST_TARGET])
    monkeypatch.setattr(plan, "MODELS", {LITE: plan.ModelPlan((3,), ("badclip",), ())})
    monkeypatch.setattr(undefended, "load_suspect", lambda *_: backdoored)
    undefended.main(undefended.Options(LITE))
    (row,) = TaskFile(tmp_path / "lines.jsonl").rows(LITE)
    assert (row["attack"], row["target"], row["seed"]) == ("badclip", FIRST_TARGET, 3)
    assert row["suspect_sha256"] == backdoored.clip.sha256() != load_clip(LITE).sha256()
    assert row["clean"]["probe"]["ca"] > 0.5
    assert row["clean"]["probe"] != row["backdoored"]["probe"]
    assert row["clean"]["transfer"].keys() == row["backdoored"]["transfer"].keys() != set()
