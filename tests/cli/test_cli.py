"""The command line: typed options, one sentence for bad input, JSON that a program can read."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cleaner.__main__ import main
from cleaner.attacks import TRIGGERS
from cleaner.cli import cluster, commands, demo, folders, inputs
from cleaner.cli.options import instantiate
from cleaner.cli.scan import Scan
from cleaner.cli.sweep import Sweep
from cleaner.data.base import load_data
from cleaner.jobs.slurm import SlurmResources
from cleaner.models.clip import Architecture, Clip, _build_clip, save_clip
from cleaner.presets import CLEANCLIP_TRAINING, POISON, POISON_LR, STRONGER_ATTACKS, recommended_lr
from cleaner.runs.request import Request, load_request
from cleaner.runs.store import list_entries
from cleaner.types import CleanerError
from tests.conftest import TINY_TEXT
from tests.data.files import write_table


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tiny untrained model in a file, and a run store of this test's own."""
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    vision = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 64}
    clip: Clip = _build_clip(Architecture(32, vision, TINY_TEXT), "tiny")
    return str(save_clip(clip, tmp_path / "tiny.safetensors"))


SMALL = ["--test-pictures", "40", "--epochs", "1", "--batch-size", "16", "--precision", "fp32"]


def test_poison_defend_evaluate_end_to_end(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attack, cleaned = str(tmp_path / "a"), str(tmp_path / "d")
    trigger = ["--trigger", "badnet", "patch_size=40", "--poison-rate", "0.1"]
    poison = ["poison", "--model", model, "--pairs", "64", *trigger]
    assert main([*poison, "--out", attack, "--json", *SMALL]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["config"]["trigger"]["patch_size"] == 40
    assert printed["metrics"]["n"] > 10
    defense = ["--defense", "ta_cleaner", "share=0.5"]
    assert main(["defend", attack, *defense, "--pairs", "32", "--out", cleaned, *SMALL]) == 0
    shown = capsys.readouterr()
    assert "learning rate 0.0001" in shown.err  # nothing was chosen for a file
    assert "protocol non_target" in shown.out
    assert "left" in shown.err
    assert main(["evaluate", cleaned, "--test-pictures", "40", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    stored = json.loads((Path(cleaned) / "metrics.json").read_text())
    assert again["ca"] == stored["ca"]
    assert again["asr"] == stored["asr"]
    assert main(["scan", attack, "--reference", model, "--trigger", *trigger[1:3], "--pictures", "40", "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)
    assert len(lines["lines"]) == len(lines["reference"]) == 32
    assert {line["trigger"] for line in lines["lines"]} == {"badnet"}
    assert main(["scan", attack, "--trigger", "badclip"]) == 2
    assert "badclip" not in capsys.readouterr().out
    again = ["rebound", cleaned, "--steps", "3", "--pairs", "32", "--out", str(tmp_path / "r"), *SMALL[:2], *SMALL[4:]]
    assert main(again) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("rebound, 3 steps")]
    assert len(rows) == 1
    assert len((tmp_path / "r" / "progress.jsonl").read_text().splitlines()) == 3
    before, config = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("d", "r"))
    assert config["rebound"] == {"steps": 3, "after": before["defense"]}
    asked = load_request(config)  # so that it can be repeated
    assert (asked.parent, asked.data, asked.test_size, asked.finetune.steps) == (cleaned, "scenes", 40, 3)


def test_a_defence_takes_the_rate_that_was_chosen_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[Request] = []
    monkeypatch.setattr(commands, "train", lambda request, *_: begun.append(request))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text('{"model": "scenes-rn"}')
    call = ["defend", str(tmp_path / "a"), "--out", str(tmp_path / "d")]
    for more in ([], ["--lr", "2e-5"], ["--preset", "ta_cleaner-published"]):
        assert main([*call, *more, "--data", "scenes"]) == 0
    chosen = recommended_lr("scenes-rn", "ta_cleaner", default=0.0)
    assert chosen > 0
    assert [request.finetune.lr for request in begun] == [chosen, 2e-5, CLEANCLIP_TRAINING.finetune.lr]
    assert f"learning rate {chosen:g}" in capsys.readouterr().err
    assert main([*call, "--lr", "0"]) == 2
    assert "lr must lie between" in capsys.readouterr().err


def test_a_run_is_worked_on_with_its_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Request] = []
    monkeypatch.setattr(commands, "train", lambda request, *_: begun.append(request))
    own = {"data_name": "csv:/d/pairs.csv", "data_options": {"classes": "red,blue"}}
    run, out = str(tmp_path / "a"), ["--out", str(tmp_path / "x")]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text(json.dumps(own))
    for call in (["defend", run], ["rebound", run], ["defend", run, "--data", "scenes"], ["defend", "scenes-rn"]):
        assert main([*call, *out]) == 0
    taken = [(request.data, request.data_options) for request in begun]
    assert taken == [tuple(own.values())] * 2 + [("scenes", {})] * 2
    assert commands.Evaluate(run).data == Scan(run).data == Sweep(run).data == ()
    assert inputs.resolve_data((), run) == tuple(own.values())
    (tmp_path / "a" / "config.json").write_text('{"data": "csv:/d/pairs.csv/train"}')  # made without the command line
    assert inputs.resolve_data((), run) == ("csv:/d/pairs.csv", {})


def test_two_runs_begun_at_once_get_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    with folders.reserve_run_folder(None, "./x") as first, folders.reserve_run_folder(None, "./x") as second:
        assert first != second
        assert list_entries() == []
        (second / "config.json").write_text('{"stage": "backdoored"}')
    assert [entry.folder for entry in list_entries()] == [second]
    assert not first.exists()
    monkeypatch.setattr(cluster.local, "start", lambda *_: None)
    with folders.reserve_run_folder(None, "far") as folder:
        cluster.run_on_cluster(
            Request("defended", "scenes", 8, POISON), folder, SlurmResources(), True, lambda *_: None
        )
    assert (tmp_path / "far_1" / "config.json").exists()


def test_the_demo_shows_its_figures_before_it_writes_them(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: Path, result: dict[str, Any]) -> None:
        told.append(result["command"])
        raise CleanerError("the disk is full.")

    told: list[str] = []
    small = replace(POISON, epochs=1, batch_size=16, precision="fp32")
    for name in ("DEMO_POISON", "DEMO_DEFEND"):
        monkeypatch.setattr(demo.presets, name, small)
    monkeypatch.setattr(demo, "DEMO_DEFENSES", ("finetune",))
    monkeypatch.setattr(demo.results, "write_result", full)
    sizes = ["--pairs", "64", "--clean-pairs", "32", "--test-pairs", "40"]
    command = ["demo", "--model", model, *sizes, "--out", str(tmp_path / "demo.json")]
    monkeypatch.setattr(sys, "argv", ["cleaner", *command])
    assert main() == 2
    assert told == [shlex.join(["python", "-m", "cleaner", *command])]  # so that it can be repeated
    assert "\nfinetune  " in capsys.readouterr().out


def test_the_full_setting_beside_the_demo_names_its_target(capsys: pytest.CaptureFixture[str]) -> None:
    demo.Demo(target_class="cat")._print_full_setting()
    assert "protocol non_target, target 'banana'" in capsys.readouterr().out


LONG = "x" * 300


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["poison", "--out", "file"], "file is no folder: choose another --out"),
        (["defend", "scenes-rn", "--out", "file"], "file is no folder: choose another --out"),
        (["poison", "--out", "file/run"], "file/run cannot be written (Not a directory): choose another --out"),
        (["poison", "--out", LONG], "cannot be written (File name too long): choose another --out"),
        (["demo", "--out", "."], "is no file: choose another --out"),
        (["report", "run", "--out", "."], "is no file: choose another --out"),
        (["poison", "--trigger", LONG], "there is no trigger"),
        (["poison", "--model", LONG], "there is no model"),
        (["poison", "--model", f"{LONG}.pt"], "cannot be read as a model"),
        (["defend", LONG], "there is no model"),
        (["sweep", LONG], "there is no model"),
        (["evaluate", LONG], "there is no model"),
        (["scan", LONG, "--pictures", "4"], "there is no model"),
        (["scan", "scenes-rn", "--trigger", "text_only"], "changes the text alone"),
        (["rebound", LONG], "does not hold a run"),
        (["runs", "--cancel", LONG], "there is no run"),
        (["look", f"image_folder:{LONG}"], "there is no folder"),
        (["look", f"shards:{LONG}"], "there is no shard"),
    ],
    ids=lambda of: " ".join(of)[:30] if isinstance(of, list) else "",
)
def test_what_cannot_be_found_or_written_is_said_before_any_work(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    (tmp_path / "file").touch()
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / "runs").glob("*"))


def test_a_scan_reads_what_it_needs_and_counts_its_lines(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read: list[int] = []
    monkeypatch.setattr(inputs, "load_data", lambda *of, **how: read.append(how["size"]) or load_data(*of, **how))
    data = [str(write_table(tmp_path, 120)), "classes=red,green,blue"]
    assert main(["scan", model, "--data", *data, "--trigger", "badnet", "--pictures", "10"]) == 0
    assert read == [10]
    assert "The 3 steepest of 3 lines, n = 10 pictures" in capsys.readouterr().out


def test_a_protocol_is_one_of_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "scenes-rn", "--protocol", "mine"])
    assert "all_images" in capsys.readouterr().err


def test_an_attack_takes_what_its_model_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Request] = []
    monkeypatch.setattr(commands, "train", lambda request, *_: begun.append(request))
    call, rate = ["poison", "--model", "scenes-vit"], POISON_LR["scenes-vit"]
    preset = ["--trigger", "blended", "--preset", "blended-scenes"]
    for i, more in enumerate(([], ["--lr", "2e-5"], preset, [*preset, "--epochs", "1"])):
        assert main([*call, *more, "--out", str(tmp_path / str(i))]) == 0
    assert main(["poison", "--out", str(tmp_path / "rn")]) == 0
    assert [request.finetune.lr for request in begun] == [rate, 2e-5, rate, rate, POISON.lr]
    parameters, pairs, epochs = STRONGER_ATTACKS["scenes-vit", "blended"]
    chosen = begun[2]
    assert chosen.trigger is not None
    assert chosen.trigger.items() >= parameters.items()
    assert (chosen.pairs, chosen.finetune.epochs, begun[3].finetune.epochs) == (pairs, epochs, 1)


def test_the_patch_of_a_run_is_used_again(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = str(tmp_path / "a"), str(tmp_path / "b")
    poison = ["poison", "--model", model, "--pairs", "64", "--poison-rate", "0.1"]
    assert main([*poison, "--trigger", "trojvqa", "steps=2", "--out", first, *SMALL]) == 0
    assert main([*poison, "--trigger", first, "--out", second, *SMALL]) == 0
    configs = [json.loads((Path(folder) / "config.json").read_text()) for folder in (first, second)]
    assert configs[0]["trigger"] == configs[1]["trigger"]
    assert configs[0]["trigger"]["png"]
    stages = [json.loads(line)["stage"] for line in (Path(second) / "progress.jsonl").read_text().splitlines()]
    assert set(stages) == {"poison"}
    capsys.readouterr()
    assert main(["evaluate", model, "--trigger", first, "--target-class", "banana", *SMALL[:2], "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert set(measured["asr_by_key"]) == {"image", "text", "both"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--trigger", "badnut"], "there is no trigger 'badnut' (did you mean 'badnet'?)"),
        (["--trigger", "badnet", "size=3"], "'size=3' is not an option of badnet"),
        (["--trigger", "badnet", "patch_size=big"], "patch_size takes a value of type int"),
        (["--trigger", "badnet", "patch_size=9999"], "patch_size must lie between 2 and 224"),
        (["--data", "scene"], "there is no data set 'scene'"),
        (["--target-class", "zebra"], "the class 'zebra' is not in scenes/train"),
        (["--poison-rate", "0"], "between 0 and 1"),
        (["--poison-rate", "1"], "between 0 and 1"),
        (["--pairs", "0"], "size must be at least 1"),
        (["--lr", "7"], "lr must lie between"),
        (["--lr", "nan"], "lr must lie between"),
        (["--model", "scenes-xl"], "there is no model 'scenes-xl'"),
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_nothing(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main(["poison", "--model", model, "--pairs", "64", "--out", str(tmp_path / "x"), *SMALL, *arguments]) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert shown.err.strip().splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "x").exists()


def test_a_run_is_never_overwritten(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text("{}")
    assert main(["poison", "--model", model, "--out", str(tmp_path / "a")]) == 2
    assert "nothing was overwritten" in capsys.readouterr().err


def test_unknown_flag_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["poison", "--triger", "badnet"])
    assert "--triger" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    ["demo", "pretrain", "poison", "defend", "sweep", "rebound", "evaluate", "runs", "list", "presets", "recipe"],
)
def test_help_reads_well(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert "usage: python -m cleaner" in shown
    assert len(shown.splitlines()) > 3


def test_list_and_empty_runs(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("scenes-rn", "badnet", "ta_cleaner", "patch_size=28"))
    assert main(["runs"]) == 0
    assert "no runs" in capsys.readouterr().out


def test_named_reads_types() -> None:
    trigger = instantiate(TRIGGERS, ["sig", "delta=0.1", "frequency=4", "mode=blend"])
    assert (trigger.delta, trigger.frequency, trigger.mode) == (0.1, 4, "blend")
    with pytest.raises(CleanerError, match="name a trigger"):
        instantiate(TRIGGERS, [])
