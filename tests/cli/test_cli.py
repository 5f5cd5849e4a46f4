"""The command line: typed options, one sentence for bad input, machine-readable JSON."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import pytest
import torch

from cleaner import files
from cleaner.__main__ import main
from cleaner.attacks import TRIGGERS, Trigger
from cleaner.cli import cluster, commands, demo, folders, forecast, inputs, output, training
from cleaner.cli.commands import Command
from cleaner.cli.models import Evaluate
from cleaner.cli.options import instantiate
from cleaner.cli.scan import Scan
from cleaner.cli.sweep import Sweep
from cleaner.data.base import CaptionData, load_data
from cleaner.evaluation import scan, scan_variants
from cleaner.files import read_json
from cleaner.jobs import prediction
from cleaner.jobs.slurm import SlurmResources
from cleaner.method import CLEANCLIP_TRAINING
from cleaner.models import clip as clip_module
from cleaner.presets import CHOSEN_RATES, POISON, POISON_LR, PRETRAINED_LR, STRONGER_ATTACKS
from cleaner.runs.folders import is_run_folder, runs_root
from cleaner.runs.request import Request, load_request
from cleaner.runs.status import Status, write_status
from cleaner.runs.store import list_entries
from cleaner.types import CleanerError, StepReport
from tests.cases import read_cases
from tests.data.files import write_table
from tests.evaluation.test_scan import plant
from tests.waiting import wait_until

SMALL = ["--test-pairs", "40", "--epochs", "1", "--batch-size", "16", "--precision", "fp32", "--no-film"]


def test_poison_defend_evaluate_end_to_end(tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attack, cleaned = str(tmp_path / "a"), str(tmp_path / "d")
    trigger = ["--trigger", "badnet", "patch_size=40", "--poison-rate", "0.1"]
    poison = ["poison", "--model", tiny_model, "--pairs", "64", *trigger]
    assert main([*poison, "--out", attack, "--json", *SMALL]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["config"]["trigger"]["patch_size"] == 40
    assert printed["metrics"]["n"] > 10
    defense = ["--defense", "ta_cleaner", "share=0.5"]
    assert main(["defend", attack, *defense, "--pairs", "32", "--out", cleaned, *SMALL]) == 0
    shown = capsys.readouterr()
    assert "learning rate 1e-05" in shown.err  # no rate was tuned for a model from a file
    assert "images of other classes" in shown.out
    assert "None of the 32 clean pairs shows one of the 6 poisoned images." in shown.out
    assert "left" in shown.err
    assert main(["evaluate", cleaned, "--test-pairs", "40", "--json"]) == 0
    evaluated = capsys.readouterr()
    again = json.loads(evaluated.out)
    counted = f"{again['n_attack']} attack images: 95% intervals up to "
    assert counted in evaluated.err  # printed before the runs, too
    assert counted in shown.err
    stored = json.loads((Path(cleaned) / "metrics.json").read_text())
    assert again["ca"] == stored["ca"]
    assert again["asr"] == stored["asr"]
    subject = clip_module.load_clip(Path(cleaned) / "model.safetensors").sha256()
    assert (again["model"], again["model_sha256"]) == (cleaned, subject)
    assert again["trigger"]["patch_size"] == 40
    weights = Path(attack) / "model.safetensors"
    assert main(["evaluate", str(weights), "--test-pairs", "40"]) == 0
    shown = capsys.readouterr()
    assert "says that it is backdoored, with the target “banana”" in shown.err
    assert any(line.startswith("model.safetensors") for line in shown.out.splitlines())
    assert (
        main(["scan", attack, "--reference", tiny_model, "--trigger", *trigger[1:3], "--images", "40", "--json"]) == 0
    )
    shown = capsys.readouterr()
    assert "\nScanning: " in shown.err
    assert "\nreference, scanning: " in shown.err
    lines = json.loads(shown.out)
    assert len(lines["lines"]) == len(lines["reference"]) == 32
    assert (lines["model"], lines["reference_model"]) == (attack, tiny_model)
    assert lines["data_sha256"]
    assert {line["trigger"] for line in lines["lines"]} == {"badnet"}
    assert main(["scan", attack, "--trigger", "badclip"]) == 2
    assert "no patch yet" in capsys.readouterr().err
    again = ["rebound", cleaned, "--steps", "3", "--pairs", "32", "--out", str(tmp_path / "r"), *SMALL[:2], *SMALL[4:]]
    assert main(again) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("rebound, 3 steps")]
    assert len(rows) == 1
    assert len((tmp_path / "r" / "progress.jsonl").read_text().splitlines()) == 3
    before, config = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("d", "r"))
    assert config["rebound"] == {"steps": 3, "after": before["defense"]}
    assert config["overlap"] == before["overlap"] == {"pairs": 32, "poisoned": 6, "shared": 0}
    request = load_request(config)  # so that it can be repeated
    assert (request.parent, request.data, request.test_size, request.finetune.steps) == (cleaned, "scenes", 40, 3)
    assert request.finetune.lr == PRETRAINED_LR


def test_a_scan_tries_other_settings_than_the_defaults_too(
    tiny_model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    triggers = {"badnet": TRIGGERS["badnet"]()}
    monkeypatch.setattr(scan, "find_scannable_triggers", lambda: (triggers, {"text": "it changes no image"}))
    monkeypatch.setattr(scan_variants, "SCREENED_IMAGES", 8)
    monkeypatch.setattr(scan_variants, "MAX_VARIANTS", 10)
    label, planted = list(scan_variants.list_variants(triggers).items())[5]
    plant(planted, clip_module.load_clip(tiny_model), load_data("scenes", split="test", size=40), monkeypatch)
    command = ["scan", tiny_model, "--images", "20"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["lines"][0]["trigger"], found["lines"][0]["n"]) == (label, 20)
    assert found["lines"][0]["after"] == 1
    assert 5 < found["tried"] <= 10
    assert found["not_tried"] == {"text": "it changes no image"}
    assert main([*command, "--no-variants"]) == 0
    shown = capsys.readouterr().out
    assert label not in shown
    assert "1 setting tried" in shown
    assert "Not tried: text, it changes no image" in shown


def test_a_defense_takes_the_rate_tuned_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requests: list[Request] = []
    monkeypatch.setattr(training, "train", lambda request, *_, **__: requests.append(request))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text('{"stage": "backdoored", "model": "scenes-rn"}')
    call = ["defend", str(tmp_path / "a"), "--out", str(tmp_path / "d")]
    for more in ([], ["--lr", "2e-5"], ["--preset", "ta_cleaner-published"]):
        assert main([*call, *more, "--data", "scenes"]) == 0
    chosen = read_json(CHOSEN_RATES)["full"]["scenes-rn"]["ta_cleaner"]["lr"]
    assert [request.finetune.lr for request in requests] == [chosen, 2e-5, CLEANCLIP_TRAINING.finetune.lr]
    assert f"learning rate {chosen:g}" in capsys.readouterr().err
    assert main([*call, "--lr", "0"]) == 2
    assert "lr must" in capsys.readouterr().err


def test_a_run_is_trained_and_evaluated_on_its_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[Request] = []
    monkeypatch.setattr(training, "train", lambda request, *_, **__: requests.append(request))
    own = {"data_name": "csv:/d/pairs.csv", "data_options": {"classes": "red,blue"}}
    run, out = str(tmp_path / "a"), ["--out", str(tmp_path / "x")]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text(json.dumps({"stage": "backdoored", **own}))
    for call in (["defend", run], ["defend", run, "--data", "scenes"], ["defend", "scenes-rn"]):
        assert main([*call, "--pairs", "10", *out]) == 0
    used = [(request.data, request.data_options) for request in requests]
    assert used == [tuple(own.values())] + [("scenes", {})] * 2
    assert Evaluate(run).data == Scan(run).data == Sweep(run).data == ()
    assert inputs.resolve_data((), run) == tuple(own.values())
    (tmp_path / "a" / "config.json").write_text(json.dumps({"stage": "defended", **own, "pairs": 38}))
    assert main(["rebound", run, *out]) == 0
    assert requests[-1].pairs == 38, "as many as the defense"
    assert (requests[-1].data, requests[-1].data_options) == tuple(own.values())
    (tmp_path / "a" / "config.json").write_text('{"data": "csv:/d/pairs.csv/train"}')  # created in Python
    assert inputs.resolve_data((), run) == ("csv:/d/pairs.csv", {})


def test_a_setting_that_a_defense_replaces_is_refused(
    tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["defend", tiny_model, "--defense", "par", "--out", str(tmp_path / "d")]
    assert main([*command, "--weight-decay", "0.7", "--beta1", "0.1"]) == 2
    assert "par replaces --weight-decay and --beta1 by its own settings" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_the_data_of_a_run_that_took_all_of_them_are_no_test_of_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"data": "csv:/d/pairs.csv/all"}')
    with pytest.raises(CleanerError, match=r"all pairs of csv:/d/pairs\.csv, .* --data"):
        inputs.resolve_data((), str(tmp_path))
    assert inputs.resolve_data(("scenes",), str(tmp_path)) == ("scenes", {})
    assert inputs.resolve_data((), "photos-rn") == ("cifar10", {})


@pytest.mark.skipif(os.name == "nt", reason="needs a shell of Unix")
@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_closed_stream_is_no_fault(closed: str, tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m cleaner list {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_of_ones_own_model_keeps_its_small_rate_whatever_name_the_weights_have(tmp_path: Path) -> None:
    config = {"stage": "backdoored", "model": "scenes-rn", "clean_model": str(tmp_path / "cleaned.safetensors")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert training.original_model(str(tmp_path)) == config["clean_model"]
    assert training.original_model("scenes-rn") == "scenes-rn"


def test_the_defender_gets_other_pairs_of_a_small_table_than_the_attacker(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requests: list[Request] = []
    monkeypatch.setattr(training, "train", lambda request, *_, **__: requests.append(request))
    table = str(write_table(tmp_path, 120))
    available = load_data(table, split="train").count_training_pairs()
    assert available is not None
    data = ["--data", table, "classes=red,green,blue"]
    poison = ["poison", "--model", tiny_model, *data, "--target-class", "red", "--out", str(tmp_path / "x")]
    for more in ([], ["--pairs", "6000"]):
        assert main([*poison, *more]) == 0
    assert [request.pairs for request in requests] == [available // 2, 6000]
    assert f"{available // 2} of {available} pairs" in capsys.readouterr().err
    attack = tmp_path / "a"
    attack.mkdir()
    defend = ["defend", str(attack), "--data", table, "--out", str(tmp_path / "y")]
    (attack / "config.json").write_text(json.dumps(replace(requests[0], pairs=80).initial_config()))
    assert main(defend) == 0
    assert requests[-1].pairs == available - 80
    used = replace(requests[0], pairs=80).initial_config() | {"pairs": 78}  # two images were broken
    (attack / "config.json").write_text(json.dumps(used))
    assert main(defend) == 0
    assert requests[-1].pairs == available - 80
    (attack / "config.json").write_text(json.dumps(requests[1].initial_config()))
    assert main(defend) == 2
    refused = capsys.readouterr().err
    assert "fewer pairs" in refused
    assert "--pairs" in refused
    assert main([*defend, "--pairs", "90"]) == main(["defend", tiny_model, *data, "--out", str(tmp_path / "z")]) == 0
    assert [request.pairs for request in requests[-2:]] == [90, available // 2]
    (swept,) = Sweep(tiny_model, defenses=("finetune",), lrs=(1e-5,), data=tuple(data[1:]))._build_requests()
    assert swept.pairs == available // 2


def test_a_run_is_preceded_by_its_time_and_memory_once_they_are_known(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    metrics = []
    for known in (None, prediction.Prediction(50.0, memory=3.9e9)):
        monkeypatch.setattr(prediction, "predict", lambda _, known=known: known)
        parent = tmp_path / f"{known is None}0"
        for number, command in enumerate((["poison", "--model", tiny_model], ["defend", str(parent)])):
            folder = tmp_path / f"{known is None}{number}"
            assert main([*command, "--pairs", "64", "--out", str(folder), "--eval-every", "2", *SMALL]) == 0
            stored = json.loads((folder / "metrics.json").read_text())
            metrics.append((stored, (folder / "model.safetensors").read_bytes()))
            (line,) = [line for line in capsys.readouterr().err.splitlines() if "points wide" in line]
            assert line.startswith("40 to 60 s, about 3.9 GB of main memory. ") == (known is not None)
    assert metrics[:2] == metrics[2:]


def test_a_wrong_class_is_refused_before_the_training_pairs_are_loaded() -> None:
    def load_split(split: str, size: int | None) -> CaptionData:
        splits.append(split)
        return load_data("scenes", split=split, size=size)

    splits: list[str] = []
    trigger = TRIGGERS["badnet"]().state_dict()
    request = Request("backdoored", "scenes", 64, POISON, "scenes-rn", trigger=trigger, target_class="bananna")
    with pytest.raises(CleanerError, match="'bananna'"):
        forecast.print_forecast(replace(request, test_size=40), load_split)
    assert splits == ["test"]


def test_a_forecast_loads_the_pairs_of_a_run_once(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    table = write_table(tmp_path, 120)
    for i in range(0, 120, 30):
        (tmp_path / "pics" / f"{i}.png").write_bytes(b"no image")
    poison = ["poison", "--model", tiny_model, "--data", str(table), "classes=red,green,blue", "--target-class", "red"]
    assert main([*poison, "--pairs", "60", "--out", str(tmp_path / "a"), *SMALL]) == 0
    shown = capsys.readouterr().err
    assert shown.count("left out") == 1
    assert re.search(r"Only 5\d of the 60 requested pairs are available\.", shown)


def test_progress_fits_one_line_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    for label in ("short", "long" * 20):
        output.Progress(label)(StepReport("poison", 2, 2, 0.0))
    assert [len(line) for line in terminal.getvalue().replace("\r", "").splitlines()] == [39, 39]


def test_signs_that_the_output_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cleaner.cli.commands.run_command", lambda *_: print("é \u732b"))
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(BytesIO(), encoding="cp1252", newline="\n"))
    assert main([]) == 0
    assert sys.stdout.buffer.getvalue() == b"\xe9 \\u732b\n"


def test_names_in_files_drive_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b]52;c;cm0gLXJm\x07\x1b[2J\u202e"
    rows = [f"pics/{i % 60}.png,a cup {evil} {i},cup {evil}" for i in range(60)]
    path = write_table(tmp_path)
    path.write_text("\n".join(["filepath,title,class", f"{evil}.png,a cup,cup", *rows]), encoding="utf-8")
    assert main(["inspect", str(path)]) == 0
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    (tmp_path / "runs" / "copied").mkdir(parents=True)
    config = {"stage": "backdoored", "trigger": {"name": evil}, "request": {}}
    (tmp_path / "runs" / "copied" / "config.json").write_text(json.dumps(config))
    assert main(["runs"]) == 0
    shown = capsys.readouterr()
    text = output.format_table([(evil, "0.1")], ("model", "CA")) + shown.out + shown.err
    assert text.count("?[2J?") >= 4
    assert [line for line in text.splitlines() if not line.isprintable()] == []


def test_runs_deletes_stored_runs_that_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    for folder in (tmp_path / "runs" / "old", tmp_path / "runs" / "kept", tmp_path / "mine"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"stage": "backdoored"}')
    assert main(["runs", "--delete", str(tmp_path / "mine")]) == 2
    assert "delete this folder yourself" in capsys.readouterr().err
    assert main(["runs", "--delete", "old", "missing"]) == 2
    assert main(["runs", "--delete", "old", str(tmp_path / "mine")]) == 2
    assert (tmp_path / "runs" / "old").exists(), "nothing is deleted if a name is wrong"
    assert main(["runs", "--delete", "old"]) == 0
    assert capsys.readouterr().out.endswith("old: deleted\n")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["kept"]
    assert main(["runs", "--delete", "example-badnet"]) == 2
    assert "not in" in capsys.readouterr().err


def test_two_runs_started_at_once_get_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    with folders.reserve_run_folder(None, "./x") as first, folders.reserve_run_folder(None, "./x") as second:
        assert first != second
        assert list_entries() == []
        (second / "config.json").write_text('{"stage": "backdoored"}')
    assert [entry.folder for entry in list_entries()] == [second]
    assert not first.exists()
    monkeypatch.setattr(cluster.local, "start", lambda *_: None)
    with folders.reserve_run_folder(None, "far") as folder:
        cluster.submit_run(Request("defended", "scenes", 8, POISON), folder, SlurmResources())
    assert (tmp_path / "far" / "config.json").exists()


@pytest.mark.parametrize("out", ["full", "."])
def test_a_run_for_the_cluster_is_not_created_in_another_folder(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    monkeypatch.setattr(cluster.local, "start", lambda *_: None)
    with pytest.raises(CleanerError, match="--out"):
        cluster.submit_run(Request("defended", "scenes", 8, POISON), Path(out), SlurmResources())
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "notes.txt"]


def test_ctrl_c_while_watching_says_where_the_job_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    monkeypatch.setattr(cluster.local, "poll_status", interrupt)
    monkeypatch.setattr(cluster.local, "cancel", lambda _: None)
    for folder, shown in ((tmp_path / "run", "cleaner runs. "), (tmp_path / "out" / "run", "status.json")):
        with pytest.raises(KeyboardInterrupt, match=shown):
            cluster.wait_for_run(folder)
        folder.mkdir(parents=True)
        (folder / "config.json").touch()
        assert main(["runs", "--cancel", str(folder)]) == 130
        assert capsys.readouterr().err == "stopped\n"
    monkeypatch.setattr(commands, "run_command", lambda *_: cluster.wait_for_run(tmp_path))
    assert main([]) == 130
    assert capsys.readouterr().err.startswith("The job continues. "), "and does not end with stopped"


def test_a_folder_is_refused_while_another_command_has_it(tmp_path: Path) -> None:
    out = tmp_path / "my-run"
    with folders.reserve_run_folder(out, ""):
        with pytest.raises(CleanerError, match="another command"), folders.reserve_run_folder(out / ".", ""):
            pass
        with folders.reserve_run_folder(tmp_path / "other", ""):
            pass
    assert list(tmp_path.iterdir()) == []
    with folders.reserve_run_folder(out, ""):
        pass


def test_a_model_of_the_hub_is_no_run_and_is_not_overwritten(tmp_path: Path) -> None:
    """Its config.json is that of another library."""
    (tmp_path / "config.json").write_text('{"architectures": ["CLIPModel"], "model_type": "clip"}')
    assert not is_run_folder(tmp_path)
    with pytest.raises(CleanerError, match="not overwritten"), folders.reserve_run_folder(tmp_path, ""):
        pass
    for text in ('{"stage": "defended"}', "{}", '{"stage": '):  # a broken run is reported as one
        (tmp_path / "config.json").write_text(text)
        assert is_run_folder(tmp_path)


def test_the_demo_prints_its_metrics_before_it_writes_them(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Path, result: dict[str, Any]) -> None:
        recorded_commands.append(result["command"])
        raise CleanerError("the disk is full.")

    recorded_commands: list[str] = []
    small = replace(POISON, epochs=1, batch_size=16, precision="fp32")
    for name in ("QUICK_POISON", "QUICK_DEFEND"):
        monkeypatch.setattr(demo.presets, name, small)
    monkeypatch.setattr(demo.presets, "COMPARED_DEFENSES", ("finetune",))
    monkeypatch.setattr(demo.results, "write_result", fail)
    sizes = ["--pairs", "64", "--clean-pairs", "32", "--test-pairs", "40"]
    command = ["demo", "--model", tiny_model, *sizes, "--out", str(tmp_path / "demo.json")]
    monkeypatch.setattr(sys, "argv", ["cleaner", *command])
    assert main() == 2
    assert recorded_commands == [shlex.join(["python", "-m", "cleaner", *command])]  # so that it can be repeated
    assert "\nfinetune  " in capsys.readouterr().out


def test_the_demo_attacks_with_the_parameters_of_the_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(clip: None, data: None, trigger: Trigger, **_: object) -> None:
        raise CleanerError(f"weight {trigger.state_dict()['triplet_weight']:g}")

    monkeypatch.setattr("cleaner.data.base.load_data", lambda *_, **__: SimpleNamespace(class_names=[]))
    monkeypatch.setattr("cleaner.models.clip.load_clip", lambda _: None)
    monkeypatch.setattr("cleaner.workflow.poison", stop)
    with pytest.raises(CleanerError, match="weight 20"):
        demo.Demo(trigger=("badclip",)).run()


@pytest.mark.parametrize(("target", "expected"), [(None, "airplane"), ("frog", "frog")])
def test_the_demo_of_the_model_of_photos_has_a_target_in_its_data(
    target: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, target_class: str, **__: object) -> None:
        raise CleanerError(target_class)

    photos = SimpleNamespace(class_names=["airplane", "frog"])
    monkeypatch.setattr("cleaner.data.base.load_data", lambda *_, **__: photos)
    monkeypatch.setattr("cleaner.models.clip.load_clip", lambda _: None)
    monkeypatch.setattr("cleaner.workflow.poison", stop)
    with pytest.raises(CleanerError, match=expected):
        demo.Demo("photos-rn", target_class=target).run()


def test_the_demo_counts_pairs_as_the_other_commands_do(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[str, int | None] = {}

    def stop(*_: object, **__: object) -> None:
        raise CleanerError("stopped.")

    monkeypatch.setattr("cleaner.data.base.load_data", lambda _, split, size, **__: sizes.update({split: size}))
    monkeypatch.setattr("cleaner.models.clip.load_clip", lambda _: None)
    monkeypatch.setattr("cleaner.workflow.poison", stop)
    with pytest.raises(CleanerError, match="stopped"):
        demo.Demo(target_class="cat", pairs=0, clean_pairs=32, test_pairs=0).run()
    assert sizes == {"clean": 32, "test": None, "train": 0}  # None: all; load_data refuses 0


def test_a_folder_that_looks_like_a_run_is_no_output(
    tmp_path: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    poison = ["poison", "--model", tiny_model, "--out", str(out)]
    (out / "checkpoint.pt").write_text("mine")
    assert main(poison) == 2
    assert "already holds a file checkpoint.pt" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["checkpoint.pt"]
    (out / "config.json").write_text('{"stage": "backdoored"}')
    write_status(out, Status("paused"))
    assert main(poison) == 2
    assert f"resume its run with python -m cleaner runs --resume {out}, or" in capsys.readouterr().err


def test_a_command_that_is_terminated_before_it_trains_leaves_no_folder(tmp_path: Path, tiny_model: str) -> None:
    environment = {**os.environ, "CLEANER_RUNS": str(tmp_path / "runs")}
    command = [sys.executable, "-m", "cleaner", "poison", "--model", tiny_model, "--pairs", "100000"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: list(tmp_path.glob("runs/*")))
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert not list(tmp_path.glob("runs/*"))


LONG = "x" * 300


@pytest.mark.parametrize(("arguments", "token"), read_cases(__file__, "refused_early"))
def test_missing_inputs_and_unwritable_outputs_are_reported_before_any_work(
    arguments: str, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    (tmp_path / "file").touch()
    assert main(shlex.split(arguments.replace("LONG", LONG))) == 2
    lines = capsys.readouterr().err.splitlines()
    assert token.replace("LONG", LONG) in lines[-1]
    assert not any(line.startswith("Scanning: ") for line in lines)
    assert not list((tmp_path / "runs").glob("*"))


def test_an_unwritable_folder_of_all_runs_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLEANER_RUNS", "/proc/own")
    assert main(["poison"]) == 2
    assert "/proc is not writable: choose another CLEANER_RUNS" in capsys.readouterr().err


def test_the_file_behind_a_link_is_written_and_the_link_stays(tmp_path: Path) -> None:
    """A link such as /dev/stdout must survive."""
    file, link = tmp_path / "report.html", tmp_path / "link.html"
    file.write_text("old")
    link.symlink_to(file)
    assert main(["report", "example-badnet", "--out", str(link)]) == 0
    assert link.is_symlink()
    assert "</html>" in file.read_text()


def test_a_scan_reads_only_the_images_it_needs(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(inputs, "load_data", lambda *a, **kw: sizes.append(kw["size"]) or load_data(*a, **kw))
    data = [str(write_table(tmp_path, 120)), "classes=red,green,blue"]
    assert main(["scan", tiny_model, "--data", *data, "--trigger", "badnet", "--images", "10"]) == 0
    assert sizes == [10]
    shown = capsys.readouterr().out
    assert "\n1 setting tried. " in shown
    assert "Top 3 of 3 combinations of trigger and class, by the lower bound of the increase, n = 10 images" in shown


def test_an_attack_takes_the_settings_tuned_for_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[Request] = []
    monkeypatch.setattr(training, "train", lambda request, *_, **__: requests.append(request))
    call, rate = ["poison", "--model", "scenes-vit"], POISON_LR["scenes-vit"]
    preset = ["--trigger", "blended", "--preset", "blended-scenes"]
    for i, more in enumerate(([], ["--lr", "2e-5"], preset, [*preset, "--epochs", "1"])):
        assert main([*call, *more, "--out", str(tmp_path / str(i))]) == 0
    assert main(["poison", "--out", str(tmp_path / "rn")]) == 0
    assert [request.finetune.lr for request in requests] == [rate, 2e-5, rate, rate, POISON.lr]
    parameters, pairs, epochs = STRONGER_ATTACKS["scenes-vit", "blended"]
    tuned = requests[2]
    assert tuned.trigger is not None
    assert tuned.trigger.items() >= parameters.items()
    assert (tuned.pairs, tuned.finetune.epochs, requests[3].finetune.epochs) == (pairs, epochs, 1)


def test_the_patch_of_a_run_is_reused(tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = str(tmp_path / "a"), str(tmp_path / "b")
    poison = ["poison", "--model", tiny_model, "--pairs", "64", "--poison-rate", "0.1"]
    assert main([*poison, "--trigger", "trojvqa", "steps=2", "--out", first, *SMALL]) == 0
    assert main([*poison, "--trigger", first, "--out", second, *SMALL]) == 0
    configs = [json.loads((Path(folder) / "config.json").read_text()) for folder in (first, second)]
    assert configs[0]["trigger"] == configs[1]["trigger"]
    assert configs[0]["trigger"]["png"]
    stages = [json.loads(line)["stage"] for line in (Path(second) / "progress.jsonl").read_text().splitlines()]
    assert set(stages) == {"poison"}
    capsys.readouterr()
    assert main(["evaluate", tiny_model, "--trigger", first, "--target-class", "banana", *SMALL[:2], "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert set(measured["asr_by_key"]) == {"image", "text", "both"}


@pytest.mark.parametrize(("arguments", "tokens"), read_cases(__file__, "bad_input"))
def test_bad_input_gets_one_sentence_and_leaves_nothing(
    tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, tokens: str
) -> None:
    poison = ["poison", "--model", tiny_model, "--pairs", "64", "--out", str(tmp_path / "x")]
    assert main([*poison, *SMALL, *shlex.split(arguments)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert all(token in error for token in tokens.split())
    assert not (tmp_path / "x").exists()


def test_a_run_is_named_after_the_file_of_its_model_not_its_path(
    tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    monkeypatch.setattr(training, "train", lambda request, folder, **_: names.append(folder.name))
    monkeypatch.setattr(training.Poison, "_build_request", lambda self: None)
    assert main(["poison", "--model", tiny_model]) == main(["poison", "--model", "ViT-B-32/openai"]) == 0
    assert names == ["tiny.safetensors_badnet", "ViT-B-32-openai_badnet"]


def test_a_run_is_never_overwritten(tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text("{}")
    assert main(["poison", "--model", tiny_model, "--out", str(tmp_path / "a")]) == 2
    assert str(tmp_path / "a") in capsys.readouterr().err
    assert (tmp_path / "a" / "config.json").read_text() == "{}"


@pytest.mark.parametrize(("arguments", "tokens"), read_cases(__file__, "wrong_options"))
def test_wrong_options_get_one_sentence(arguments: str, tokens: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(arguments)) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert all(token in error for token in tokens.split())


@pytest.mark.parametrize(("arguments", "tokens"), read_cases(__file__, "wrong_values"))
def test_values_that_do_not_fit_get_the_message_of_the_parser(
    arguments: str, tokens: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(shlex.split(arguments))
    shown = capsys.readouterr().err
    assert all(token in shown for token in tokens.split())
    assert "--help" in shown


@pytest.mark.parametrize(("commit", "shown"), [("0123456789ab+", "0123456789ab+"), ("unknown", "1.2.3")])
def test_the_version_is_the_commit_or_that_of_the_package(
    commit: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "read_git_commit", lambda: commit)
    monkeypatch.setattr(files, "version", lambda _: "1.2.3")
    files.read_code_version.cache_clear()
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ta-cleaner-lab {shown}\n"
    files.read_code_version.cache_clear()


def test_options_are_parsed_without_torch() -> None:
    """It takes seconds to load: help and wrong options answer before."""
    code = (
        "import sys; from cleaner.__main__ import main\n"
        f"for name in {command_names()!r}:\n"
        "    try: main([name, '--help'])\n"
        "    except SystemExit: pass\n"
        "    assert main([name, '--unknown', '1']) == 2\n"
        "assert main(['runs']) == 0\n"
        "loaded = {'torch', 'open_clip', 'scipy', 'plotly'} & sys.modules.keys()\n"
        "sys.exit(str(loaded) if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def command_names() -> list[str]:
    return [get_args(annotated)[1].name for annotated in get_args(Command)]


@pytest.mark.parametrize("command", command_names())
def test_every_command_and_option_has_a_help_text(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert f"usage: python -m cleaner {command}" in shown
    assert "{None" not in shown
    assert "(default: )" not in " ".join(shown.replace("│", " ").split())
    (annotated,) = (a for a in get_args(Command) if get_args(a)[1].name == command)
    options = get_args(annotated)[0]
    assert (options.__doc__ or "").rstrip().endswith(".")
    for name, hint in get_type_hints(options, include_extras=True).items():
        argument = get_args(hint)[-1]
        is_group = argument.name == ""
        assert is_group or argument.help.endswith("."), name
        named = set() if is_group else set(re.findall(r"--[a-z][a-z-]*", argument.help))
        assert named <= set(commands._list_flags(options)), name
        states_default = not is_group and "default: " in argument.help.lower()
        assert not states_default or argument.help_behavior_hint == "", name


def test_list_and_empty_runs(tiny_model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("scenes-rn", "badnet", "ta_cleaner", "patch_size=28"))
    assert main(["runs"]) == 0
    assert str(runs_root()) in capsys.readouterr().out


def test_instantiate_converts_types() -> None:
    trigger = instantiate(TRIGGERS, ["sig", "delta=0.1", "frequency=4", "mode=blend"])
    assert (trigger.delta, trigger.frequency, trigger.mode) == (0.1, 4, "blend")
    with pytest.raises(CleanerError, match="name a trigger"):
        instantiate(TRIGGERS, [])


def test_evaluate_takes_a_number_of_prompts_and_says_how_long_a_full_size_model_takes(
    tiny_model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(clip_module, "FULL_SIZE_PARAMETERS", 1)
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    command = ["evaluate", tiny_model, "--test-pairs", "40", "--json", "--templates"]
    assert main([*command, "7"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["templates"] == 7
    assert "points wide" in shown.err


@pytest.mark.parametrize(("command", "device"), read_cases(__file__, "devices"))
def test_a_model_is_used_on_the_device_that_was_named(
    command: str, device: str, tiny_model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(asked: str) -> None:
        raise CleanerError(f"asked for {asked}")

    monkeypatch.setattr(inputs, "pick_device", refuse)
    assert main([*shlex.split(command.replace("MODEL", shlex.quote(tiny_model))), "--device", "mps"]) == 2
    assert capsys.readouterr().err.endswith(f"error: asked for {device}\n")


def test_a_gpu_that_is_too_small_is_reported(
    tiny_model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(inputs, "print_activation", fail)
    assert main(["scan", tiny_model, "--images", "4"]) == 2
    assert "not enough memory: choose another --device" in capsys.readouterr().err


def test_a_run_is_not_attacked_on_data_without_its_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(write_table(tmp_path, 60)), "classes=red,green,blue"]
    assert main(["evaluate", "example-badnet", *data]) == 2
    error = capsys.readouterr().err
    assert "'banana' is not in" in error
    weights = re.search(r"evaluate (\S+)\.$", error)
    assert weights is not None
    assert main(["evaluate", weights[1], *data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["asr"] is None
