"""The origin of a result: the files and the commit that it came from."""

from __future__ import annotations

import ast
import shutil
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import protocol
from benchmarks.rows import add_row
from cleaner.attacks import TRIGGERS
from cleaner.files import read_json
from cleaner.models.clip import Clip
from cleaner.reports import results

IMAGE = Path(protocol.__file__).with_name("trigger.png")


def test_a_row_has_the_text_version_and_the_image_name_without_its_folder(tiny_clip: Clip, tmp_path: Path) -> None:
    trigger = TRIGGERS["patch_image"](path=str(shutil.copy(IMAGE, tmp_path / "copy.png")))
    config = {"model": "scenes-rn", "finetune": {"seed": 0}, "seconds": 1.0, "trigger": trigger.state_dict()}
    config |= {"text_version": 7}
    run: Any = SimpleNamespace(config=config, stage="backdoored", metrics=None, trigger=trigger, clip=tiny_clip)
    row = results.make_row(None, run)
    trigger_state = row["config"]["trigger"]
    assert row["text_version"] == 7
    assert (trigger_state["path"], trigger_state["sha256"]) == ("copy.png", trigger.sha256)
    assert str(tmp_path) in config["trigger"]["path"], "the run keeps the full path"


def test_a_row_records_the_commit_that_its_process_started_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "read_started_commit", cache(protocol.read_started_commit.__wrapped__))
    monkeypatch.setattr(results, "read_git_commit", lambda: "first")
    protocol.read_started_commit()
    monkeypatch.setattr(results, "read_git_commit", lambda: "second")  # the checkout moved on
    row = protocol.stamp_row({"seed": 3})
    add_row(tmp_path / "rows.json", row)
    assert row["commit"] == read_json(tmp_path / "rows.json")["commit"] == "first"


def test_every_program_reads_its_commit_first() -> None:
    """Except benchmarks.reliability: it counts tests, whose processes load the code that is there when they start."""
    programs = [path for path in IMAGE.parent.glob("*.py") if path.stem not in ("protocol", "rows", "reliability")]
    writing = ("protocol.write_result", "protocol.stamp_row", "protocol.add_provenance", "add_row(", "command.run(")
    checked = 0
    for path in programs:
        text = path.read_text(encoding="utf-8")
        assert "read_git_commit" not in text, path
        assert "results.add_provenance" not in text, path
        mains = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == "main"]
        if mains and any(name in text for name in writing):
            first = ast.unparse(mains[0].body[1])  # after the docstring
            assert first.startswith(("protocol.read_started_commit()", "protocol.start(")), path
            checked += 1
    assert checked > 20
