"""The command of a request, given to the command line, makes the same request."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cleaner.__main__ import main
from cleaner.attacks import TRIGGERS
from cleaner.cli import training
from cleaner.cli.command import format_command
from cleaner.command_line import join_command
from cleaner.config import FinetuneConfig, file_parameters
from cleaner.defenses import DEFENSES
from cleaner.models.clip import save_clip
from cleaner.presets import OWN_POISON, POISON
from cleaner.runs.request import Request
from tests.conftest import make_clip
from tests.data.files import write_table
from tests.pages.runs import make_runs


@pytest.fixture
def read_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return command -> the request that the command line builds from it."""
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "runs"))
    found: list[Request] = []
    monkeypatch.setattr(training, "train", lambda request, folder, **options: found.append(request))

    def read(command: str) -> Request:
        words = shlex.split(command)
        assert words[:3] == ["python", "-m", "cleaner"]
        assert main(words[3:]) == 0
        return found.pop()

    return read


@pytest.mark.parametrize("name", [name for name in TRIGGERS if not file_parameters(TRIGGERS[name])])
def test_each_attack(name: str, read_back: Any) -> None:
    trigger = TRIGGERS[name]()
    request = Request(
        "backdoored",
        "scenes",
        1000,
        FinetuneConfig(lr=3e-5, freeze_bn=True, eval_every=7, device="cpu"),
        "scenes-lite",
        trigger=trigger.state_dict(),
        target_class="traffic light",
        poison_rate=0.1 / 3,
        clean_label=True,
        test_size=500,
    )
    assert read_back(format_command(request)) == request
    counted = replace(request, poison_rate=50.0)
    assert read_back(format_command(counted)) == counted
    assert counted.initial_config()["poison_rate"] == 0.05
    # An attack draws no views or subtexts: its command has no options for them.
    unused = replace(request, finetune=replace(request.finetune, augmentation="none", redraw=False))
    assert format_command(unused) == format_command(request)


@pytest.mark.parametrize("epochs", [POISON.epochs, OWN_POISON["photos-rn"].finetune.epochs])
def test_a_model_with_a_setting_of_its_own(epochs: int, read_back: Any) -> None:
    trigger = TRIGGERS["badnet"]().state_dict()
    config = FinetuneConfig(epochs=epochs, device="cpu")
    request = Request("backdoored", "scenes", 100, config, "photos-rn", trigger=trigger, target_class="banana")
    assert read_back(format_command(request)) == request


def test_own_files_with_spaces(read_back: Any, tmp_path: Path) -> None:
    (tmp_path / "my data").mkdir()
    table = write_table(tmp_path / "my data", 60)
    model = save_clip(make_clip(), tmp_path / "my data" / "own.safetensors")
    request = Request(
        "backdoored",
        str(table),
        40,
        replace(POISON, epochs=1),
        str(model),
        trigger=TRIGGERS["badnet"](patch_size=40).state_dict(),
        target_class="red",
        data_options={"classes": "red,green,blue"},
        test_size=None,
    )
    assert read_back(format_command(request)) == request


def test_windows_takes_double_quotes() -> None:
    words = ["defend", r"C:\my runs\a", "--defense", "unlearn_trigger", r"path=C:\t\trigger.png"]
    command = r'defend "C:\my runs\a" --defense unlearn_trigger path=C:\t\trigger.png'
    assert join_command(words, "win32") == command
    assert shlex.split(join_command(words, "linux")) == words


@pytest.mark.parametrize("name", list(DEFENSES))
def test_each_defense_of_a_run(name: str, read_back: Any, tmp_path: Path) -> None:
    attacked, _ = make_runs(tmp_path)
    defense = DEFENSES[name]().state_dict()
    request = Request("defended", "scenes", 500, FinetuneConfig(lr=1e-3), parent=attacked.name, defense=defense)
    assert read_back(format_command(request)) == request
