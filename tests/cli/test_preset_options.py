"""`--preset` sets defaults and options win; `presets` lists settings, sources and whether they were run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cleaner.__main__ import main
from cleaner.attacks import TRIGGERS
from cleaner.cli.options import add_tried_parameters
from cleaner.cli.preset_options import resolve_preset_defaults
from cleaner.cli.training import Defend, Poison
from cleaner.data.base import list_builtin_data, load_data
from cleaner.defenses import DEFENSES
from cleaner.method import CLEANCLIP_TRAINING, CLIP_POISONING
from cleaner.models.clip import save_clip
from cleaner.presets import OWN_POISON, attack_presets, defense_presets, settings_for
from cleaner.runs.run import load_run
from cleaner.types import CleanerError
from tests.conftest import make_clip
from tests.data.files import write_photo_tars, write_table

SMALL = ["--data", "scenes", "--pairs", "64", "--test-pairs", "40", "--epochs", "1"]
SMALL += ["--batch-size", "16", "--precision", "fp32", "--no-film"]


def test_options_win_over_the_preset(tmp_path: Path) -> None:
    model = str(save_clip(make_clip(), tmp_path / "tiny.safetensors"))
    attack, cleaned = tmp_path / "a", tmp_path / "d"
    poison = ["poison", "--preset", "badnet-published", "--trigger", "badnet", "patch_size=40", "--model", model]
    assert main([*poison, "--poison-rate", "0.1", "--out", str(attack), *SMALL]) == 0
    config = load_run(attack).config
    assert config["trigger"]["patch_size"] == 40
    assert config["trigger"]["position"] == "random"
    assert config["poison_rate"] == 0.1
    expected = replace(CLIP_POISONING.finetune, epochs=1, batch_size=16, precision="fp32")
    unused = {"augmentation", "redraw"}  # by an attack
    assert config["finetune"].items() - vars(expected).items() <= {(name, config["finetune"][name]) for name in unused}
    assert main(["defend", str(attack), "--preset=ta_cleaner-published", "--out", str(cleaned), *SMALL]) == 0
    config = load_run(cleaned).config
    assert config["defense"]["name"] == "ta_cleaner"
    assert config["finetune"] == vars(replace(CLEANCLIP_TRAINING.finetune, epochs=1, batch_size=16, precision="fp32"))


@pytest.mark.parametrize(
    ("arguments", "token"),
    [
        (["poison", "--preset", "badclip-publish"], "'badclip-published'"),
        (["poison", "--preset", "par-published"], "trigger preset 'par-published'"),
        (["defend", "x", "--preset", "badnet-scenes"], "defense preset 'badnet-scenes'"),
        (["poison", "--preset", "sig-scenes", "--trigger", "badnet"], "sig-scenes"),
        (["defend", "scenes-rn", "--preset", "par-scenes", "--defense", "cleanclip"], "par-scenes"),
    ],
)
def test_wrong_preset_is_refused_in_one_line(
    arguments: list[str], token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert token in message
    assert len(message.splitlines()) == 1


def test_published_training_requires_data(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["poison", "--preset", "badclip-published"])
    assert "--data" in capsys.readouterr().err
    assert resolve_preset_defaults(["poison", "--preset", "badclip-scenes"]).data == ("scenes",)
    assert resolve_preset_defaults(["poison"]) is None
    assert resolve_preset_defaults(["evaluate", "--preset", "x"]) is None


@pytest.mark.parametrize("model", ["scenes-rn", "scenes-vit"])
def test_a_run_is_defended_with_the_rate_of_its_model_on_its_own_data(tmp_path: Path, model: str) -> None:
    config = {"stage": "backdoored", "model": model, "data": "pairs.csv"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = resolve_preset_defaults(["defend", "--preset", "cleanclip-scenes", str(tmp_path)])
    assert isinstance(command, Defend)
    rates = {
        preset.name: preset.training and preset.training.finetune.lr for preset in defense_presets("cleanclip", model)
    }
    assert (command.lr, command.data) == (rates["cleanclip-scenes"], ())
    built_in = resolve_preset_defaults(["defend", model, "--preset", "cleanclip-scenes"])
    assert isinstance(built_in, Defend)
    assert (built_in.lr, built_in.data) == (rates["cleanclip-scenes"], ("scenes",))


def test_a_model_of_other_data_is_poisoned_with_its_own_setting() -> None:
    command = resolve_preset_defaults(["poison", "--model", "photos-rn"])
    assert isinstance(command, Poison)
    assert command.pairs is None  # follows the size of the data
    own = OWN_POISON["photos-rn"]
    assert settings_for("photos-rn", "badnet") == own
    assert (command.finetune.epochs, command.lr) == (own.finetune.epochs, own.finetune.lr)
    assert command.poison_rate == own.poison_rate
    assert (command.model, command.data) == ("photos-rn", ("cifar10",))


def test_an_attack_has_a_target_in_its_data(tmp_path: Path) -> None:
    photos = write_photo_tars(tmp_path, ["airplane", "frog"], train=60, test=20)
    command = Poison(model="scenes-lite", data=(f"cifar10:{photos}",))
    assert command._build_request().target_class == "airplane"
    assert replace(command, target_class="frog")._build_request().target_class == "frog"
    for name in list_builtin_data():
        target, classes = (
            replace(command, data=(name,))._build_request().target_class,
            load_data(name, size=1).class_names,
        )
        assert target == ("banana" if "banana" in classes else classes[0])
    assert "banana" in load_data("scenes", size=1).class_names


def test_an_attack_on_data_without_classes_says_so(tmp_path: Path) -> None:
    with pytest.raises(CleanerError, match="name no classes"):
        Poison(model="scenes-lite", data=(str(write_table(tmp_path)),), out=tmp_path / "run").run()


@pytest.mark.parametrize(
    ("model", "trigger", "expected"),
    [
        ("scenes-rn", ["badclip"], {"triplet_weight": 20.0, "step_size": 0.03}),
        ("scenes-vit", ["badclip", "step_size=0.01"], {"triplet_weight": 1.0, "step_size": 0.01}),
        ("scenes-vit", ["blended"], {"blend_ratio": 0.3}),
        ("photos-rn", ["badclip"], {"triplet_weight": 20.0, "step_size": 0.03}),
    ],
)
def test_a_trigger_starts_with_the_parameters_tried_on_a_built_in_model(
    model: str, trigger: list[str], expected: dict[str, float]
) -> None:
    request = Poison(model=model, trigger=tuple(trigger), pairs=100)._build_request()
    assert request.trigger is not None
    assert expected.items() <= request.trigger.items()


def test_a_trigger_on_a_model_of_your_own_starts_with_its_own_defaults(tmp_path: Path) -> None:
    model = str(tmp_path / "mine.safetensors")
    assert add_tried_parameters(("badclip", "steps=2"), model) == ("badclip", "steps=2")


def test_list_has_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "--json"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    presets = [p for name in TRIGGERS for p in attack_presets(name)] + [p for n in DEFENSES for p in defense_presets(n)]
    assert set(entries) == {preset.name for preset in presets}
    assert entries["badclip-published"]["parameters"]["negatives"] == "targets"
    assert {entries[name]["published"] for name in ("sig-published", "sig-cleanclip", "cleanclip-badclip")} == {True}
    assert not any(entries[f"{name}-quick"]["published"] for name in DEFENSES)
    assert main(["presets"]) == 0
    output = capsys.readouterr().out
    for preset in presets:
        note = " (not run by us)" if preset.is_published else ""
        assert f"  {preset.name}{note}\n" in output
        assert preset.source in output
    assert "text_only: no published settings" in output
    assert "cleanclip_short: no published settings: a control of this project" in output
    assert output.startswith("This project's settings are those for scenes-rn; other models get their own.")
