"""The command continues where it was stopped, shares its work, and refuses a protocol that is not committed."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import tyro

from benchmarks import attack_defense
from benchmarks.json_lines import read_json_lines
from benchmarks.protocol2 import command, records, statement
from benchmarks.protocol2.records import describe_processor
from benchmarks.protocol2.tasks import Task
from benchmarks.tasks import claimed
from cleaner.types import CleanerError
from tests.benchmarks.protocol2.simulated import measure_all, simulate

LITE = "scenes-lite"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(records, "RESULTS_DIR", tmp_path)
    return tmp_path


def measure(model: str, task: Task) -> dict[str, Any]:
    return simulate(task, processor=describe_processor())


def test_a_stopped_command_continues(folder: Path) -> None:
    def stops(model: str, task: Task) -> dict[str, Any]:
        if len(read_json_lines(records.results_path(LITE))) == 7:
            raise KeyboardInterrupt
        return measure(model, task)

    with pytest.raises(KeyboardInterrupt):
        command.measure_missing(LITE, ["grid"], measure_task=stops)
    assert command.measure_missing(LITE, ["grid"], limit=2, measure_task=measure) == 2
    command.measure_missing(LITE, ["grid"], measure_task=measure)
    rows = read_json_lines(records.results_path(LITE))
    assert len(rows) == len(measure_all(LITE, ["grid"]))
    assert command.measure_missing(LITE, ["grid"], measure_task=measure) == 0


def test_a_task_of_another_process_is_left_out(folder: Path) -> None:
    path = records.results_path(LITE)
    suspect, other = Task("cell", "badnet", "cup", 3), Task("cell", "badclip", "cup", 3)
    defended = Task("cell", "badnet", "cup", 3, method="finetune", lr=1e-3)
    with claimed(path, str(asdict(suspect))):
        assert command.measure_first_free(LITE, [suspect, defended, other], path, measure)
        assert [row["task"] for row in read_json_lines(path)] == [asdict(other)]
        assert not command.measure_first_free(LITE, [suspect, defended], path, measure), "the defense needs its model"
    assert command.measure_first_free(LITE, [suspect, defended], path, measure)


def test_a_missing_protocol_is_restored_and_not_written(folder: Path) -> None:
    with pytest.raises(CleanerError, match="restore the one that is committed"):
        statement.read_protocol(folder / "protocol.json")
    with pytest.raises(CleanerError, match="unknown part"):
        command.run(LITE, ["protocol"])
    assert statement.read_protocol()["version"] == 2, "the committed one is what the code measures"


def test_a_protocol_that_differs_from_the_code_is_refused(folder: Path) -> None:
    path = folder / "protocol.json"
    path.write_text(json.dumps({**statement.build_protocol(), "grid": [1.0]}))
    with pytest.raises(CleanerError, match="grid"):
        statement.read_protocol(path)


def test_the_protocol_must_be_committed(tmp_path: Path) -> None:
    path = tmp_path / "protocol.json"
    path.write_text("{}")

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *identity, "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init")
    with pytest.raises(CleanerError, match="commit"):
        command.require_committed(path)
    git("add", "protocol.json")
    with pytest.raises(CleanerError, match="commit"):
        command.require_committed(path)
    git("commit", "-m", "a")
    command.require_committed(path)
    path.write_text("{} ")
    with pytest.raises(CleanerError, match="commit"):
        command.require_committed(path)


def test_unknown_models_and_parts_end_as_one_sentence() -> None:
    with pytest.raises(CleanerError, match="scenes-lite"):
        command.run("scenes-xl", [])
    with pytest.raises(CleanerError, match="grid"):
        command.run(LITE, ["gird"])


def test_the_options_reach_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(command, "run", lambda *arguments, **options: calls.append((*arguments, options)))
    words = ["--protocol", "2", "--model", "scenes-vit", "--parts", "grid", "main", "--threads", "2", "--list"]
    for arguments in ([], words):
        attack_defense.main(tyro.cli(attack_defense.Options, args=arguments))
    assert calls == [
        (LITE, (), {"threads": 1, "limit": 0, "only_list": False}),
        ("scenes-vit", ("grid", "main"), {"threads": 2, "limit": 0, "only_list": True}),
    ]
    with pytest.raises(SystemExit):  # its programs are gone
        tyro.cli(attack_defense.Options, args=["--protocol", "1"])
