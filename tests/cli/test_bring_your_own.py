"""The commands of docs/bring-your-own.md run on tiny files of the kinds that the page describes."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch

from cleaner.__main__ import main
from cleaner.attacks.patch_image import PatchImage
from cleaner.data import csv
from cleaner.data.base import load_data, resolve_data_paths
from cleaner.data.table import read_table
from cleaner.files import read_json
from cleaner.jobs.execution import execute_request
from cleaner.models.clip import load_clip
from cleaner.runs.request import format_data, load_request, parse_data
from cleaner.types import CleanerError
from tests.cases import read_cases
from tests.data.files import image_bytes, write_class_folder, write_table, write_zip
from tests.models.test_checkpoints import openai, published
from tests.pages.runs import make_runs

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "bring-your-own.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"<!-- example:(\w+) -->\n```sh\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with the files that the commands of the page name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    torch.save(published(openai("rn"), "cleanclip", "module."), tmp_path / "epoch_10.pt")
    write_table(tmp_path, 120).rename(tmp_path / "pairs.csv")
    write_class_folder(tmp_path / "photos", 120)
    write_zip(tmp_path / "pictures.zip", 120)
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    return tmp_path


def commands(example: str) -> list[list[str]]:
    lines = dict(EXAMPLES)[example].replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[3:] for line in lines if line.startswith("python -m cleaner ")]


def test_the_published_backdoor_is_tested_with_its_patch(home: Path) -> None:
    """Huang et al.: a 1 at every even row and column of 16 x 16 zeros, in the center of 224 px."""
    (block,) = re.findall(r"<!-- published -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    subprocess.run([sys.executable, *shlex.split(block.partition("python -m cleaner")[0])[1:]], check=True)
    images = PatchImage(path="patch.png", patch_size=16, position="center", scale_before_resize=False)(
        torch.full((1, 3, 224, 224), 0.5)
    )
    expected = torch.full((1, 3, 224, 224), 0.5)
    expected[..., 104:120, 104:120] = 0
    expected[..., 104:120:2, 104:120:2] = 1
    assert torch.equal(images, expected)
    for published_name, ours in {r"hf-hub:\S+": "epoch_10.pt", "imagenet/val": "photos", " banana ": " red "}.items():
        block = re.sub(published_name, ours, block)
    lines = [line for line in block.replace("\\\n", " ").splitlines() if line.startswith("python -m cleaner ")]
    for line in lines:
        arguments = shlex.split(line)[3:]
        small = ["--epochs", "1", "--batch-size", "16", "--pairs", "40"] if arguments[0] == "defend" else []
        assert main([*arguments, *small]) == 0
    assert len(lines) == 3


def test_the_lines_for_clips_scale_run_on_small_files(home: Path) -> None:
    (block,) = re.findall(r"<!-- scale -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    write_class_folder(home / "imagenet" / "test", 30)
    small = {
        "poison": "--model epoch_10.pt --trigger badclip steps=2 --pairs 60 --poison-rate 6 --steps 2 --batch-size 16",
        "defend": "--pairs 20 --steps 2 --batch-size 16",
        "evaluate": "",
    }
    block = re.sub("cc3m.csv|other.csv", "pairs.csv", block).replace("imagenet.txt", "names.txt")
    for line in block.replace("\\\n", " ").replace(" banana ", " red ").splitlines()[1:]:
        arguments = shlex.split(line)[3:]
        assert main([*arguments, *shlex.split(small[arguments[0]])]) == 0


@pytest.mark.parametrize("example", [name for name, _ in EXAMPLES])
def test_worked_examples_run(example: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example_commands = commands(example)
    assert len(example_commands) >= 2
    for command in example_commands:
        assert main(command) == 0, capsys.readouterr().err
    shown = capsys.readouterr()
    if "epoch_10.pt" in str(example_commands):
        assert hashlib.sha256((home / "epoch_10.pt").read_bytes()).hexdigest() in shown.err


def test_there_are_three_examples() -> None:
    assert len(EXAMPLES) == 3


def test_a_bare_checkpoint_gets_no_asr(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its trigger is unknown, so ASR is not measured, printed or stored."""
    settings = ["--epochs", "1", "--batch-size", "16", "--precision", "fp32", "--eval-every", "2"]
    data = ["--data", "pairs.csv", "classes=red,green,blue"]
    assert main(["defend", "epoch_10.pt", *data, "--pairs", "40", "--out", "cleaned", *settings]) == 0
    out, shown = capsys.readouterr()
    parts = ["SHA-256", "epoch_10.pt: clean accuracy", "chance level 0.333", "\nFinetuning: "]
    positions = [shown.index(part) for part in parts]
    assert positions == sorted(positions)
    figures = next(line for line in out.splitlines() if line.startswith("ta_cleaner")).split("  ")
    assert [cell.strip() for cell in figures if cell.strip()][2:6] == ["-", "-", "-", "-"]
    assert "non_target" not in out
    stored = json.loads(Path("cleaned/metrics.json").read_text())
    assert (stored["asr"], stored["ra"], stored["base_rate"], stored["n_attack"]) == (None, None, None, 0)
    reports = [json.loads(line) for line in Path("cleaned/progress.jsonl").read_text().splitlines()]
    assert reports[-1]["metrics"].keys() == {"ca"}
    config = json.loads(Path("cleaned/config.json").read_text())
    assert (config["trigger"], config["target_class"]) == (None, None)
    assert main(["evaluate", "cleaned", *data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["asr"] is None


@pytest.mark.parametrize(
    ("command", "options"),
    [("scan", ["--trigger", "badnet", "--images", "12"]), ("invert", ["--images", "8"]), ("sweep", ["--pairs", "16"])],
)
def test_an_assumed_activation_is_tried(
    command: str, options: list[str], home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise CleanerError("stopped")

    for work in ("evaluation.scan.scan", "inspection.inversion.invert", "jobs.sweep.start_sweep"):
        monkeypatch.setattr(f"cleaner.{work}", stop)
    assert main([command, "epoch_10.pt", "--data", "pairs.csv", "classes=red,green,blue", *options]) == 2
    shown = capsys.readouterr().err
    assert "epoch_10: Accuracy on " in shown
    assert "stopped" in shown


def test_an_exported_folder_loads_in_open_clip(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "epoch_10.pt", "--out", "elsewhere"]) == 0
    assert "assumes QuickGELU" in capsys.readouterr().err
    theirs = open_clip.create_model("local-dir:elsewhere", require_pretrained=True).state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in openai("rn").model.state_dict().items())
    assert load_clip("elsewhere").sha256() == load_clip("epoch_10.pt").sha256()
    assert main(["export", "epoch_10.pt", "--out", "elsewhere"]) == 2


@pytest.mark.parametrize(
    ("arguments", "token"),
    [
        (["--data", "pairs.csv"], "classes="),
        (["--data", "pairs.csv", "classes=red"], "classes=red"),
        (["--data", "pairs.csv", "caption_column=words"], "'words'"),
        (["--data", "pairs.csv", "classes"], "key=value"),
        (["--data", "nothing.csv"], "'nothing.csv'"),
    ],
)
def test_bad_data_is_reported_before_any_training(
    arguments: list[str], token: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["defend", "epoch_10.pt", *arguments, "--out", "x"]) == 2
    shown = capsys.readouterr().err
    assert token in shown
    assert "Finetuning" not in shown
    assert not Path("x").exists()


def test_a_run_is_repeated_from_its_config_in_another_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The worker knows only config.json and may start in any folder; each split is loaded once."""
    read: list[str] = []
    monkeypatch.setattr(csv, "read_table", lambda lines, name, **o: read.append(name) or read_table(lines, name, **o))
    monkeypatch.chdir(home)
    (home / "pics" / "7.png").write_bytes(image_bytes(7)[:40])
    data = ["--data", "csv:pairs.csv", "classes=names.txt", "root=.", "most_broken=0.2"]
    settings = ["--defense", "finetune", "--pairs", "80", "--epochs", "1", "--batch-size", "16", "--out", "first"]
    assert main(["defend", "epoch_10.pt", *data, *settings]) == 0
    assert len(read) == 4  # the check before training, and the clean, validation and test splits
    assert capsys.readouterr().err.count("pics/7.png") == 1
    request = load_request(read_json(home / "first" / "config.json"))
    assert request.data == f"csv:{home / 'pairs.csv'}"
    assert request.data_options == {"classes": str(home / "names.txt"), "root": str(home), "most_broken": "0.2"}
    assert request.model == str(home / "epoch_10.pt")
    monkeypatch.chdir(home / "pics")
    assert execute_request(request).clip.sha256() == load_clip(str(home / "first" / "model.safetensors")).sha256()


@pytest.mark.parametrize("name", ["scenes", "a folder/it's 5 %.csv", "shards:C:\\data\\{0..3}.tar"])
def test_format_data_and_parse_data_are_inverse(name: str) -> None:
    options = {"classes": "sea lion,dog", "seed": "3", "separator": "|"}
    assert parse_data(format_data(name, options)) == (name, options)


@pytest.mark.parametrize(("option", "token"), read_cases(__file__, "bad_data_options"))
def test_any_bad_value_ends_in_one_sentence(
    option: str, token: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "pairs.csv", option.replace("LONG", "x" * 300)]) == 2
    shown = capsys.readouterr().err
    assert token in shown
    assert "Traceback" not in shown
    assert "__init__" not in shown


def test_option_values_are_converted_to_the_types_of_the_source(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "pairs.csv", "seed=3", "most_broken=0.1", "classes=red,green,blue"]) == 0
    assert main(["inspect", "scenes", "foo=1"]) == 2
    error = capsys.readouterr().err
    assert all(option in error for option in ("foo", "seed", "image_size"))
    assert load_data("scenes", size=4, **parse_data("scenes image_size=32 seed=3")[1]).image_size == 32
    many = ",".join(f"a class with a long name, number {i}" for i in range(30))
    assert resolve_data_paths("pairs.csv", {"classes": many})[1] == {"classes": many}
    with pytest.raises(CleanerError, match=r"download.*'x'"):
        load_data("cifar10", download="x")


def test_skipped_images_are_printed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "pics" / "7.png").write_bytes(image_bytes(7)[:40])
    assert main(["inspect", "pairs.csv", "most_broken=0.2"]) == 0
    shown = capsys.readouterr()
    assert "pics/7.png" in shown.err
    assert all(token in shown.out for token in ("comma", "'filepath'", "'title'"))
    assert main(["inspect", "pairs.csv", "most_broken=0.2", "classes=red,green,blue", "--json"]) == 0
    train = json.loads(capsys.readouterr().out)["train"]
    assert train["pairs"] == len(load_data("pairs.csv", most_broken="0.2"))
    assert train["class_names"] == ["red", "green", "blue"]
    assert any("pics/7.png" in line for line in train["skipped"])


def test_missing_classes_are_said_and_long_captions_cut(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "long.csv").write_text("image,caption\n" + "\n".join(f"pics/{i}.png,{'word ' * 300}" for i in range(40)))
    assert main(["inspect", "long.csv"]) == 0
    shown = capsys.readouterr().out
    assert "add classes=a,b,c or classes=FILE" in shown
    assert max(map(len, shown.splitlines())) < 250


def test_a_run_on_data_without_classes_says_that_they_are_missing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backdoored, _ = make_runs(home)
    assert main(["evaluate", str(backdoored), "--data", "pairs.csv"]) == 2
    assert "name the classes with classes=FILE or classes=a,b,c" in capsys.readouterr().err
    assert main(["evaluate", str(backdoored), "--data", "pairs.csv", "classes=red,green,blue"]) == 2
    assert "'banana' is not in" in capsys.readouterr().err


def test_few_pairs_are_inspected_though_a_split_is_empty(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "few.csv").write_text("image,caption\n" + "\n".join(f"pics/{i}.png,a red wall" for i in range(4)))
    assert main(["inspect", "few.csv", "classes=red,green"]) == 0
    shown = capsys.readouterr().out
    assert "classes (2): red, green" in shown
    assert "validation: no pairs, too few for this split" in shown
    assert main(["inspect", "few.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["validation"] is None


def test_paths_may_begin_at_the_home_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    assert resolve_data_paths("csv:~/pairs.csv", {"root": "~/pics"}) == (
        f"csv:{home / 'pairs.csv'}",
        {"root": str(home / "pics")},
    )
    assert main(["inspect", "csv:~/pairs.csv", "root=~"]) == 0
    monkeypatch.chdir(home.parent)
    assert len(load_data("csv:~/pairs.csv"))


def test_numbered_classes_are_said_to_need_names(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("{}", "{}.0"):  # as pandas writes a column with gaps
        lines = [f"pics/{i}.png,{label.format(i % 3)}" for i in range(40)]
        (home / "numbers.csv").write_text("\n".join(["image,label", *lines]))
        assert main(["inspect", "numbers.csv"]) == 0
        assert "class names are numbers" in capsys.readouterr().out
    assert main(["inspect", "numbers.csv", "classes=red,green,blue"]) == 0
    shown = capsys.readouterr().out
    assert "class names are numbers" not in shown
    assert "classes (3): red, green, blue" in shown
