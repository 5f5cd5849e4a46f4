"""Presets: published values equal the sources, every method has some or a reason, Scenes equals the trials."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import RESULTS_DIR, chosen_rates
from cleaner import presets
from cleaner.attacks import TRIGGERS
from cleaner.config import FinetuneConfig
from cleaner.defenses import DEFENSES
from cleaner.files import read_json
from cleaner.method import Preset
from cleaner.models.clip import load_clip, save_clip
from cleaner.presets import (
    PRETRAINED_LR,
    attack_presets,
    defense_presets,
    find_tried_model,
    home_data,
    poison_lr,
    presets_for_model,
    scenes_attack_preset,
    settings_for,
)
from cleaner.runs.request import Request
from cleaner.types import CleanerError
from cleaner.variant import REBOUND
from cleaner.workflow import poison
from tests.conftest import make_clip

pytestmark = pytest.mark.quick

ARXIV = r"arXiv:\d{4}\.\d{5}"
PUBLISHED: dict[str, dict[str, Any]] = {
    # BadCLIP: src/embeding_optimize_patch.py; 50 epochs of 10,000 images at batch 64 are 7,800 steps.
    "badclip-published": {
        "patch_size": 16,
        "position": "center",
        "steps": 7800,
        "step_size": 0.001,
        "batch_size": 64,
        "triplet_weight": 500.0,
        "margin": 1.0,
        "negatives": "targets",
    },
    # CleanCLIP: backdoor/utils.py
    "badnet-published": {"patch_size": 16, "position": "random"},
    "blended-published": {"blend_ratio": 0.2},
    "sig-cleanclip": {"delta": 60 / 255, "frequency": 6, "mode": "blend"},
    "wanet-cleanclip": {"grid": 0, "strength": 1.0},
    # arXiv:1902.11237, arXiv:2012.03816, arXiv:2102.10369
    "sig-published": {"delta": 60 / 255, "frequency": 6, "mode": "add"},
    "ssba-published": {"secret": "Stega!!"},
    "wanet-published": {"grid": 4, "strength": 0.5},
    # PAR: trigger.sh, eval/validate.py, train.py
    "badnet_stripes-published": {"patch_size": 16, "position": "random"},
    "blended_stripes-published": {"blend_ratio": 0.03},
    "text-published": {"blend_ratio": 0.5},
    "triangles-published": {"blend_ratio": 0.15, "side": 14},
    "par-published": {
        "tau": 2.15,
        "noise": 0.2,
        "noise_share": 0.5,
        "erase_share": 0.5,
        "decay": 1e-4,
        "second_beta": 0.98,
    },
    # BadCLIP: opti_patches/vqa_bs64_ep50_16_middle.jpg, on 10,000 images
    "trojvqa-published": {
        "patch_size": 16,
        "position": "center",
        "steps": 7800,
        "step_size": 0.001,
        "batch_size": 64,
        "key": "consider",
    },
    # CleanCLIP: README; BadCLIP: README
    "cleanclip-published": {"in_modal_weight": 1.0},
    "cleanclip-badclip": {"in_modal_weight": 1.0},
    "ta_cleaner-published": {"share": 0.1},
    # arXiv:2412.20392
    "feature_repelling-published": {"repelling_weight": 2.0, "skip_share": 0.25},
    "rvpt-published": {"repelling_weight": 2.0, "skip_share": 0.25, "prompt_tokens": 50, "optimizer": "sgd"},
}
POISONING = {
    "pairs": 500_000,
    "poison_rate": 0.003,
    "lr": 1e-6,
    "epochs": 10,
    "batch_size": 128,
    "warmup_steps": 10_000,
}
CLEANING = {"pairs": 100_000, "poison_rate": None, "lr": 1e-5, "epochs": 10, "batch_size": 64, "warmup_steps": 50}
TRAINING: dict[str, dict[str, Any] | None] = {
    **dict.fromkeys(PUBLISHED, POISONING),
    **dict.fromkeys(("badnet_stripes-published", "blended_stripes-published", "text-published"), None),
    **dict.fromkeys(("triangles-published", "wanet-published", "feature_repelling-published"), None),
    **dict.fromkeys(("cleanclip-published", "ta_cleaner-published"), CLEANING),
    "cleanclip-badclip": CLEANING | {"lr": 4.5e-6},
    "rvpt-published": {
        "pairs": 16_000,
        "poison_rate": None,
        "lr": 0.002,
        "epochs": 50,
        "batch_size": 32,
        "warmup_steps": 0,
    },
    "par-published": {
        "pairs": 250_000,
        "poison_rate": None,
        "lr": 3e-5,
        "epochs": 2,
        "batch_size": 512,
        "warmup_steps": 0,
    },
}
CASES = {
    preset.name: (registry, preset)
    for registry, list_presets in ((TRIGGERS, attack_presets), (DEFENSES, defense_presets))
    for method in registry
    for preset in list_presets(method)
    if preset.variant not in (presets.QUICK_VARIANT, presets.SCENES_VARIANT, *presets.OWN_VARIANTS.get(method, ()))
}


def test_every_published_preset_is_compared_with_its_source() -> None:
    assert set(CASES) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values_equal_the_sources(name: str) -> None:
    _, preset = CASES[name]
    assert preset.parameters == PUBLISHED[name]
    training = preset.training
    assert TRAINING[name] == (
        training
        and {
            "pairs": training.pairs,
            "poison_rate": training.poison_rate,
            **{key: getattr(training.finetune, key) for key in ("lr", "epochs", "batch_size", "warmup_steps")},
        }
    )


@pytest.mark.parametrize(("registry", "preset"), CASES.values(), ids=CASES)
def test_published_settings_are_valid_and_have_a_source(registry: Any, preset: Preset) -> None:
    method = registry[preset.method](**preset.parameters)
    assert {name: getattr(method, name) for name in preset.parameters} == preset.parameters
    for source in [preset.source, *([preset.training.source] if preset.training else [])]:
        assert re.search(ARXIV, source)
    assert "training" in preset.unstated if preset.training is None else preset.training.data is None
    assert re.fullmatch(rf"{ARXIV}(, {ARXIV})*\.( Not stated: .+\.)?", preset.citation)
    assert all(paper in preset.citation for paper in re.findall(ARXIV, preset.source))


@pytest.mark.parametrize(
    ("registry", "list_presets"), [(TRIGGERS, attack_presets), (DEFENSES, defense_presets)], ids=["attacks", "defenses"]
)
def test_every_method_has_scenes_and_either_published_settings_or_a_reason(registry: Any, list_presets: Any) -> None:
    names = []
    for method in registry:
        scenes, *others = [preset for preset in list_presets(method) if preset.variant != presets.QUICK_VARIANT]
        assert (scenes.variant, scenes.training.data) == (presets.SCENES_VARIANT, "scenes")
        registry[method](**scenes.parameters)
        assert bool(registry[method].published) != ("unpublished" in vars(registry[method]))
        assert {preset.variant for preset in registry[method].published} <= {preset.variant for preset in others}
        assert presets.explain_unpublished(method) == f"no published settings: {registry[method].unpublished}"
        names += [preset.name for preset in (scenes, *others)]
    assert len(names) == len(set(names))


def test_scenes_is_what_the_benchmarks_use() -> None:
    (badclip, *_), (badnet, *_) = attack_presets("badclip"), attack_presets("badnet")
    assert badclip.parameters == {"triplet_weight": 20.0, "step_size": 0.03}
    assert badnet.parameters == {}
    assert badnet.training is not None
    assert (badnet.training.pairs, badnet.training.poison_rate) == (6000, 0.03)
    assert badnet.training.finetune == FinetuneConfig(lr=1e-3, epochs=4)
    (blended, *_) = attack_presets("blended", "scenes-vit")
    assert blended.parameters == {"blend_ratio": 0.3}
    assert blended.training is not None
    assert (blended.training.pairs, blended.training.finetune) == (6000, FinetuneConfig(lr=3e-4, epochs=6))
    (_, ta_cleaner, *_) = defense_presets("ta_cleaner")
    assert ta_cleaner.training is not None
    assert ta_cleaner.training.finetune.lr == read_chosen("scenes-rn")["ta_cleaner"]
    assert replace(ta_cleaner.training.finetune, lr=1e-4) == FinetuneConfig(lr=1e-4, epochs=7)


def test_a_setting_is_called_chosen_only_for_attacks_that_were_tried() -> None:
    scenes = read_json(RESULTS_DIR / "attack_trials.json")["trials"]
    tried = {
        "scenes": {row["trigger"] for row in scenes if row["config"]["poison_rate"] == presets.POISON_RATE},
        "cifar10": {row["trigger"] for row in read_json(RESULTS_DIR / "cifar10.json")["attack_trials"]},
    }
    for model in ("scenes-rn", "photos-rn"):
        sources = {name: scenes_attack_preset(name, model).source for name in TRIGGERS}
        assert {name for name in TRIGGERS if "chosen" in sources[name]} == tried[home_data(model)]
    assert "common attack setting for Scenes; not tuned" in scenes_attack_preset("wanet").source


def read_chosen(model: str) -> dict[str, float]:
    """Return method -> learning rate that was chosen for the full setting."""
    return {name: choice["lr"] for name, choice in read_json(presets.CHOSEN_RATES)["full"][model].items()}


def write_choices(file: Path, **settings: Any) -> None:
    """Write chosen rates of some settings; the others have none."""
    empty = {"full": {}, "quick": {presets.QUICK_MODEL: {}}, "quick mixed": {}}
    file.write_text(json.dumps(empty | settings), encoding="utf-8")


@pytest.fixture
def choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of chosen rates in place of the shipped one."""
    monkeypatch.setattr(presets, "CHOSEN_RATES", tmp_path / "chosen_rates.json")
    return tmp_path / "chosen_rates.json"


def test_defense_learning_rates_are_chosen_per_model_and_variant() -> None:
    rates = [p.training.finetune.lr for p in defense_presets("ta_cleaner", "scenes-vit")[1:3] if p.training]
    chosen = [read_chosen("scenes-vit")[name] for name in ("ta_cleaner", "ta_cleaner K 100 %")]
    assert rates == chosen != [read_chosen("scenes-rn")["ta_cleaner"]] * 2
    assert defense_presets("ta_cleaner", "unknown-model") == defense_presets("ta_cleaner")


def test_chosen_rates_follow_from_the_trials() -> None:
    collected = chosen_rates.collect()
    assert collected == read_json(presets.CHOSEN_RATES)
    full = collected["full"]
    assert full["scenes-lite"]["par"]["file"] == "protocol2_scenes-lite.jsonl"
    assert "par" not in full["scenes-vit"], "it was corrected after its trials"


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_missing_rates_are_an_error(content: str | None, choices: Path) -> None:
    if content is not None:
        choices.write_text(content, encoding="utf-8")
    with pytest.raises(CleanerError, match="install TA-Cleaner Lab again"):
        settings_for("scenes-lite", DEFENSES["finetune"]())


@pytest.mark.parametrize(
    ("defense", "model", "captions", "lr", "source"),
    [
        ("ta_cleaner", "scenes-lite", "mixed", 0.006, "on scenes-lite (benchmarks/results/quick_captions.jsonl)"),
        ("par", "scenes-lite", "mixed", 0.0035, "on scenes-lite (benchmarks/results/quick_captions.jsonl)"),
        ("ta_cleaner", "scenes-lite", "full", 0.0022, "on scenes-lite (benchmarks/results/quick_setting.json)"),
        ("ta_cleaner", "photos-rn", "mixed", None, "on photos-rn (benchmarks/results/quick_setting.json)"),
        ("unlearn_trigger", "scenes-vit", "mixed", 0.0015, "that of finetune, chosen by accuracy alone on scenes-vit"),
        ("rvpt", "scenes-vit", "full", 0.04, "on scenes-vit (benchmarks/results/vit_rivals.jsonl)"),
    ],
)
def test_quick_rates_follow_the_captions(
    defense: str, model: str, captions: str, lr: float | None, source: str
) -> None:
    preset, *_ = defense_presets(defense, model, captions)
    assert preset.training is not None
    assert preset.training.is_lr_chosen
    assert preset.training.finetune.lr == lr or lr is None
    assert source in preset.source


def test_a_model_without_trials_of_a_method_gets_those_of_another(choices: Path) -> None:
    first = {"lr": 1e-3, "file": "first.json"}
    lite = {
        "cleanclip": {"lr": 2e-5, "file": "second.jsonl"},
        "feature_repelling": {"lr": 4e-5, "file": "second.jsonl"},
    }
    rn = {"cleanclip": first, "finetune": first}
    write_choices(choices, full={"scenes-rn": rn, "scenes-lite": {"finetune": first} | lite})
    old, new = "(benchmarks/results/first.json)", "scenes-lite (benchmarks/results/second.jsonl)"
    for model, method, lr, source in (
        ("scenes-lite", "cleanclip", 2e-5, new),
        ("scenes-lite", "finetune", 1e-3, f"scenes-lite {old}"),
        ("scenes-vit", "cleanclip", 1e-3, f"scenes-rn {old}"),
        ("scenes-vit", "feature_repelling", 4e-5, new),
        ("scenes-rn", "unlearn_trigger", 1e-3, f"that of finetune, chosen by accuracy alone on scenes-rn {old}"),
        ("scenes-rn", "rvpt", presets.DEFEND.lr, "not chosen yet"),
    ):
        preset = defense_presets(method, model)[1]
        assert preset.training is not None
        assert preset.training.is_lr_chosen == (method != "rvpt")
        assert (preset.training.finetune.lr, settings_for(model, DEFENSES[method]()).finetune.lr) == (lr, lr), (
            model,
            method,
        )
        assert source in preset.source


def test_quick_setting_comes_first_and_is_the_chosen_one(choices: Path) -> None:
    choice = {"parameters": {"share": 0.5}, "lr": 2e-3, "file": "quick.json"}
    write_choices(choices, quick={presets.QUICK_MODEL: {"ta_cleaner": choice}})
    for model in (presets.QUICK_MODEL, "another-model"):
        quick, *_ = defense_presets("ta_cleaner", model)
        assert (quick.variant, quick.parameters) == (presets.QUICK_VARIANT, {"share": 0.5})
        assert quick.training is not None
        assert quick.training.finetune == replace(presets.QUICK_DEFEND, lr=2e-3)
        assert quick.training.pairs == presets.QUICK_CLEAN_PAIRS
        assert quick.training.is_lr_chosen
    untried, *_ = defense_presets("rvpt")
    assert untried.training is not None
    assert untried.training.finetune == presets.QUICK_DEFEND
    assert not untried.training.is_lr_chosen
    assert "not chosen yet" in untried.source


def test_a_method_without_a_quick_choice_starts_at_a_rate_that_was_tried() -> None:
    for method in ("feature_repelling", "par"):
        quick, full, *_ = defense_presets(method)
        assert quick.training is not None
        assert full.training is not None
        assert quick.training.finetune.lr == full.training.finetune.lr == 1e-5, "at 1e-3 they lose over 15 points"
        assert not quick.training.is_lr_chosen, "it was chosen for other pairs and epochs"
        assert "learning rate that of the full setting, chosen by accuracy alone on scenes-lite" in quick.source
    for unlearn, finetune in zip(defense_presets("unlearn_trigger"), defense_presets("finetune"), strict=True):
        assert unlearn.training is not None
        assert finetune.training is not None
        assert unlearn.training.finetune == finetune.training.finetune
        assert unlearn.training.is_lr_chosen
        assert "that of finetune, chosen by accuracy alone" in unlearn.source


def test_the_poison_rate_has_one_default() -> None:
    defaults = {Request.poison_rate, inspect.signature(poison).parameters["poison_rate"].default}
    assert defaults == {presets.POISON_RATE}


def test_models_trained_elsewhere_get_a_small_rate_and_nothing_for_scenes(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()  # as the folder of a built-in model has
    assert poison_lr(str(tmp_path)) == PRETRAINED_LR
    for presets_of_method in (attack_presets("badnet"), defense_presets("ta_cleaner")):
        own, *others = presets_for_model(presets_of_method, "/models/epoch_10.pt")
        assert own.training is not None
        assert own.training.finetune.lr == PRETRAINED_LR
        assert own.method == presets_of_method[0].method
        assert all(preset.training is None or preset.training.data != "scenes" for preset in [own, *others])
        assert presets_for_model(presets_of_method, "scenes-rn") == presets_of_method
    assert (
        poison_lr("ViT-B-32:epoch_10.pt")
        == settings_for("epoch_10", DEFENSES["finetune"]()).finetune.lr
        == PRETRAINED_LR
    )
    assert poison_lr("scenes-rn") > PRETRAINED_LR


def test_a_file_that_was_trained_from_a_built_in_model_gets_its_settings(tmp_path: Path) -> None:
    """At the rate of pretrained models, a small one loses accuracy and keeps the backdoor."""
    exported = save_clip(load_clip("scenes-lite"), tmp_path / "cleaned.safetensors")
    assert find_tried_model(str(exported)) == find_tried_model("scenes-lite") == "scenes-lite"
    other = save_clip(make_clip(), tmp_path / "other.safetensors")
    (tmp_path / "empty.safetensors").touch()
    for path in (other, tmp_path / "empty.safetensors", tmp_path / "missing.pt", tmp_path, "ViT-B-32/openai", "\0"):
        assert find_tried_model(str(path)) == str(path)


def test_defaults_of_a_file_are_those_of_the_model_that_it_was_trained_from(tmp_path: Path) -> None:
    exported = str(save_clip(load_clip("scenes-lite"), tmp_path / "cleaned.safetensors"))
    for method in ("badnet", "ta_cleaner", REBOUND, DEFENSES["par"]()):
        assert settings_for(exported, method) == settings_for("scenes-lite", method)
    assert settings_for(exported, "finetune", "quick") == defense_presets("finetune", "scenes-lite")[0].training
    assert settings_for("scenes-lite", "sig", "quick") == settings_for("scenes-lite", "badnet", "quick")
    assert settings_for("scenes-rn", REBOUND).finetune.lr == presets.DEFEND.lr
    assert settings_for("ViT-B-32/openai", REBOUND).finetune.lr == PRETRAINED_LR


def test_a_method_that_trains_new_weights_alone_starts_at_its_published_rate() -> None:
    rvpt, (published,) = DEFENSES["rvpt"], DEFENSES["rvpt"].published
    own, *_ = presets_for_model(defense_presets("rvpt"), "/models/epoch_10.pt")
    assert own.parameters == published.parameters, "the rate is that of SGD"
    assert own.training.finetune.lr == published.training.finetune.lr == 2e-3
    for model in ("/models/epoch_10.pt", "scenes-vit"):
        assert settings_for(model, rvpt(**published.parameters)).finetune.lr == published.training.finetune.lr
        assert settings_for(model, rvpt()).finetune.lr == presets.DEFEND.lr > PRETRAINED_LR


def test_settings_of_the_model_of_photos_are_those_of_its_table(choices: Path) -> None:
    model, chosen = "photos-rn", {"finetune": {"lr": 2e-3, "file": "photos.json"}}
    (attack,) = [preset for preset in attack_presets("badnet", model) if preset.variant == presets.SCENES_VARIANT]
    assert attack.training.data == presets.home_data(model) == "cifar10"
    assert "CIFAR-10 photos" in attack.source
    training = attack.training
    setting = settings_for(model, "badnet", "quick")
    assert replace(training, source="", data=None) == setting
    assert (setting.pairs, setting.finetune.epochs, setting.poison_rate) == (22_500, 2, 0.1)
    assert setting.finetune.lr == poison_lr(model)
    quick = settings_for("scenes-rn", "badnet", "quick")
    assert (quick.pairs, quick.finetune.epochs, quick.poison_rate, quick.finetune.lr) == (8000, 2, 0.05, 1e-3)
    write_choices(choices, full={"another": chosen})
    assert defense_presets("finetune", model)[1].training.finetune.lr != 2e-3
    write_choices(choices, full={model: chosen})
    defenses = {preset.variant: preset for preset in defense_presets("finetune", model)}
    assert defenses[presets.SCENES_VARIANT].training.finetune.lr == 2e-3
    assert {preset.training.data for name, preset in defenses.items() if name != "published"} == {"cifar10"}
    assert presets.home_data("scenes-rn") == presets.home_data("ViT-B-32") == "scenes"
