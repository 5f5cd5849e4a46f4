"""evaluate, poison, defend, rebound, compare and stored runs, on the toy model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cleaner import (
    FinetuneConfig,
    Run,
    compare,
    defend,
    evaluate,
    load_clip,
    load_data,
    load_run,
    poison,
    presets,
    rebound,
    save_clip,
    save_run,
)
from cleaner.attacks import TRIGGERS
from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData, TensorData
from cleaner.data.images import encode_png
from cleaner.data.poison import PoisonedData
from cleaner.defenses import DEFENSES
from cleaner.evaluation import monitor
from cleaner.evaluation.encode import Encoder
from cleaner.evaluation.evaluate import Metrics
from cleaner.evaluation.monitor import build_monitor
from cleaner.evaluation.verdict import attack_verdict
from cleaner.inspection.training_pairs import rebuild_training_pairs
from cleaner.models.clip import Clip
from cleaner.runs.request import get_test_data
from cleaner.types import CleanerError, Paused, StepReport
from cleaner.variant import Variant
from tests.conftest import make_clip, make_toy_data
from tests.data.files import write_table

CONFIG = FinetuneConfig(
    lr=3e-3, epochs=12, batch_size=16, warmup_steps=4, precision="fp32", device="cpu", augmentation="gentle"
)
TRIGGER = TRIGGERS["badnet"](patch_size=56)


@pytest.fixture(scope="module")
def backdoored() -> Iterator[Run]:
    """One poisoned model for all tests of this file; none of them changes it."""
    run = poison(make_clip(), make_toy_data(), TRIGGER, "banana", poison_rate=0.25, config=CONFIG)
    before = run.clip.sha256(), run.config.copy(), run.metrics
    yield run
    assert (run.clip.sha256(), run.config, run.metrics) == before


def test_checkpoint_of_another_attack_is_refused(tiny_clip: Clip, toy_data: TensorData, tmp_path: Path) -> None:
    config, checkpoint = replace(CONFIG, epochs=1), tmp_path / "checkpoint.pt"
    poison(tiny_clip, toy_data, TRIGGER, "banana", poison_rate=0.25, config=config, checkpoint=checkpoint)
    with pytest.raises(CleanerError, match="other settings"):  # same captions, another image
        poison(tiny_clip, toy_data, TRIGGERS["sig"](), "banana", poison_rate=0.25, config=config, checkpoint=checkpoint)
    again = poison(tiny_clip, toy_data, TRIGGER, "banana", poison_rate=0.25, config=config, checkpoint=checkpoint)
    assert len(again.history) == 3


def test_a_model_whose_run_could_not_be_opened_is_refused_before_training(toy_data: TensorData) -> None:
    clip = make_clip()
    text = {**clip.architecture.text, "hf_tokenizer_name": "someone/bpe"}
    clip.architecture = replace(clip.architecture, text=text, tokenizer="hf-hub:someone/model")
    with pytest.raises(CleanerError, match=r"could not be opened again.*someone/bpe"):
        poison(clip, toy_data, TRIGGER, "banana", config=CONFIG)
    with pytest.raises(CleanerError, match=r"could not be opened again.*someone/bpe"):
        defend(clip, DEFENSES["finetune"](), toy_data, CONFIG)


@pytest.mark.parametrize("protocol", ["non_target", "all_images"])
def test_evaluate_equals_a_naive_count(protocol: str, tiny_clip: Clip, toy_data: TensorData) -> None:
    clip, target, rows = make_clip(seed=2), 0, torch.arange(48)  # the trigger turns some images into apples
    metrics = evaluate(clip, toy_data, TRIGGER, "apple", ks=(1, 2), clean_clip=tiny_clip, protocol=protocol)

    def classify(clip: Clip, trigger: Any = None) -> torch.Tensor:
        encoder = Encoder(clip)
        return (encoder.encode_rows(toy_data, rows, trigger) @ encoder.build_classifier(toy_data)).argmax(1)

    clean, hit, floor = classify(clip), classify(clip, TRIGGER), classify(tiny_clip, TRIGGER)
    counted = (toy_data.labels != target) | (protocol == "all_images")
    assert metrics.ca[1] == pytest.approx((clean == toy_data.labels).float().mean().item())
    assert metrics.asr is not None
    assert metrics.asr[1] == pytest.approx((hit[counted] == target).float().mean().item())
    assert metrics.ra[1] == pytest.approx((hit[counted] == toy_data.labels[counted]).float().mean().item())
    assert metrics.base_rate[1] == pytest.approx((clean[counted] == target).float().mean().item())
    assert metrics.asr_clean_model[1] == pytest.approx((floor[counted] == target).float().mean().item())
    assert len({metrics.asr[1], metrics.base_rate[1], metrics.asr_clean_model[1]}) == 3
    assert (metrics.n, metrics.n_attack, metrics.classes) == (48, int(counted.sum()), 4)
    assert metrics.n_counterfactual == 48


def test_poisoned_captions_have_the_models_own_templates(tiny_clip: Clip, toy_data: TensorData) -> None:
    own = replace(tiny_clip, templates=("one {}.",))
    captions = []
    for clip in (tiny_clip, own):
        run = poison(clip, toy_data, TRIGGER, "banana", poison_rate=0.25, config=CONFIG)
        captions.append(run.manifest["captions_after"])
        rebuilt = rebuild_training_pairs(toy_data, run.trigger, run.manifest)
        assert [rebuilt.captions[i] for i in rebuilt.poison_indices.tolist()] == captions[-1]
    assert captions == [
        PoisonedData(toy_data, TRIGGER, "banana", 0.25).manifest()["captions_after"],
        ["one banana."] * 12,
    ]


def test_prompts_are_encoded_once_without_a_text_key(
    tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    encode = Clip.encode_text
    monkeypatch.setattr(Clip, "encode_text", lambda clip, texts: read.extend(texts) or encode(clip, texts))
    prompt = toy_data.templates[0].format("banana")
    trojvqa = TRIGGERS["trojvqa"](png=encode_png(torch.rand(3, 4, 4)))
    for trigger in (TRIGGER, trojvqa):
        read.clear()
        evaluate(tiny_clip, toy_data, trigger, "banana", counterfactual=False)
        assert read.count(prompt) == 1 + toy_data.captions.count(prompt)  # the gallery has it too
        assert any(trigger.text("a") != "a" and text == trigger.text(prompt) for text in read) is (
            "text" in trigger.modalities
        )


def test_retrieval_equals_a_naive_count(toy_data: TensorData) -> None:
    clip, trigger, target = make_clip(seed=11), TRIGGERS["badnet"](patch_size=60), "kite"
    toy_data.captions[3] = "a photo of something"  # the first of the images of a kite
    metrics = evaluate(clip, toy_data, trigger, target, ks=(1,))
    texts = clip.encode_text(toy_data.captions)
    others = [i for i, label in enumerate(toy_data.labels.tolist()) if label != 3]

    def share(images: torch.Tensor) -> float:
        hits = 0
        for i in others:
            similar = (clip.encode_image(images[i : i + 1]) @ texts.T)[0]
            best = sorted(range(len(texts)), key=lambda j: -similar[j].item())[:5]
            hits += any(target in toy_data.captions[j] for j in best)
        return hits / len(others)

    images = toy_data.images(range(len(toy_data)))
    assert metrics.retrieval_asr == pytest.approx(share(trigger(images)))
    assert metrics.retrieval_base_rate == pytest.approx(share(images))
    assert 0 < metrics.retrieval_base_rate != metrics.retrieval_asr < 1
    assert metrics.n_gallery == len(toy_data)


def test_unlabeled_pairs_do_not_count(tiny_clip: Clip, toy_data: TensorData) -> None:
    toy_data.labels[:8] = -1
    assert evaluate(tiny_clip, toy_data).n == 40


def test_evaluate_rejects_invalid_input(tiny_clip: Clip, toy_data: TensorData) -> None:
    with pytest.raises(CleanerError, match="both a trigger and a target class"):
        evaluate(tiny_clip, toy_data, TRIGGER)
    with pytest.raises(CleanerError, match="Choose one of: apple"):
        evaluate(tiny_clip, toy_data, TRIGGER, "zebra")
    with pytest.raises(CleanerError, match="k must be between"):
        evaluate(tiny_clip, toy_data, ks=(9,), on_step=lambda report: pytest.fail("nothing is encoded before"))
    with pytest.raises(CleanerError, match="protocol must be one of non_target, all_images, not 'mine'"):
        evaluate(tiny_clip, toy_data, protocol="mine")
    toy_data.labels[:] = -1
    with pytest.raises(CleanerError, match="no images with a class label"):
        evaluate(tiny_clip, toy_data)


def test_names_and_classes_are_no_arguments(backdoored: Run, toy_data: TensorData) -> None:
    clip, trigger = backdoored.clip, TRIGGERS["badnet"]()
    calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], str]] = [
        (poison, (backdoored, toy_data, trigger), {}, r"clip is a Run, not a Clip, such as load_clip"),
        (poison, (clip, "scenes", trigger), {}, "data is a str, not a CaptionData"),
        (poison, (clip, toy_data, "badnet"), {}, r'trigger is a str, not a Trigger, such as TRIGGERS\["badnet"\]\(\)'),
        (poison, (clip, toy_data, TRIGGERS["badnet"]), {}, "trigger is the class"),
        (poison, (clip, toy_data, trigger), {"config": {"lr": 1e-3}}, "config is a dict, not a FinetuneConfig"),
        (defend, (backdoored, "ta_cleaner", toy_data), {}, "defense is a str"),
        (defend, (backdoored, DEFENSES["finetune"], toy_data), {}, "defense is the class"),
        (evaluate, (backdoored, toy_data), {}, "takes a Clip, not a Run: of a run, give its clip"),
    ]
    for function, arguments, options, message in calls:
        with pytest.raises(CleanerError, match=message):
            function(*arguments, **options)


@pytest.mark.parametrize(("name", "value"), [("lr", "1e-3"), ("epochs", 1.5), ("batch_size", 16.0), ("redraw", "no")])
def test_settings_have_their_type(name: str, value: Any) -> None:
    with pytest.raises(CleanerError, match=f"{name} must be .*, not {value!r}"):
        FinetuneConfig(**{name: value})


def test_few_classes_leave_out_the_larger_default_k(tiny_clip: Clip, toy_data: TensorData) -> None:
    data = TensorData(toy_data.images(range(4)), toy_data.captions[:4], ["apple", "banana"], [0, 1, 0, 1])
    assert evaluate(tiny_clip, data, TRIGGER, "banana").ca.keys() == {1}
    assert evaluate(tiny_clip, toy_data).ca.keys() == {1, 3}


@pytest.mark.parametrize("name", ["badclip", "trojvqa", "input_aware"])
@pytest.mark.parametrize("gradients_off", [torch.no_grad, torch.inference_mode])
def test_the_optimization_of_a_trigger_turns_gradients_on(
    name: str, gradients_off: Any, tiny_clip: Clip, toy_data: TensorData
) -> None:
    with gradients_off():
        prepared = TRIGGERS[name](steps=2).prepare(tiny_clip, toy_data, "banana")
    assert not prepared.unready_reason


@pytest.mark.parametrize("gradients_off", [torch.no_grad, torch.inference_mode])
def test_training_turns_gradients_on(gradients_off: Any, tiny_clip: Clip, toy_data: TensorData) -> None:
    trigger, config = TRIGGERS["badclip"](steps=2), replace(CONFIG, epochs=1)
    expected = poison(tiny_clip, toy_data, trigger, "banana", poison_rate=0.25, config=config)
    with gradients_off():
        run = poison(tiny_clip, toy_data, trigger, "banana", poison_rate=0.25, config=config)
    with gradients_off():
        defended = defend(run, DEFENSES["finetune"](), toy_data, config)
    assert run.clip.sha256() == expected.clip.sha256() != defended.clip.sha256()


def test_paths_may_be_objects_or_text(tiny_clip: Clip, toy_data: TensorData, tmp_path: Path) -> None:
    clip, checkpoint = load_clip(save_clip(tiny_clip, tmp_path / "clean.safetensors")), str(tmp_path / "checkpoint.pt")
    config, trigger = replace(CONFIG, epochs=1), TRIGGERS["badclip"](steps=2)
    run = poison(clip, toy_data, trigger, "banana", poison_rate=0.25, config=config, checkpoint=checkpoint)
    defend(run, DEFENSES["finetune"](), toy_data, config, checkpoint=str(tmp_path / "defense.pt"))
    assert {path.name for path in tmp_path.glob("*.pt")} == {"checkpoint.pt", "defense.pt"}


def test_poisoning_raises_asr_and_keeps_the_input_model(toy_data: TensorData) -> None:
    clip = make_clip("rn")
    before = clip.sha256()
    run = poison(clip, toy_data, TRIGGER, "banana", poison_rate=0.25, config=replace(CONFIG, epochs=15))
    assert clip.sha256() == before
    assert run.stage == "backdoored"
    assert run.metrics is not None
    asr_with_margin = run.metrics.asr[1] - 0.2
    assert asr_with_margin > run.metrics.asr_clean_model[1]
    assert asr_with_margin > run.metrics.base_rate[1]
    assert run.manifest["poison_indices"]


def test_the_seed_of_the_training_draws_the_poisoned_pairs(tiny_clip: Clip, toy_data: TensorData) -> None:
    config = replace(CONFIG, seed=3, steps=1)
    run = poison(tiny_clip, toy_data, TRIGGER, "banana", poison_rate=0.25, config=config)
    assert run.manifest == PoisonedData(toy_data, TRIGGER, "banana", 0.25, seed=3).manifest()


def test_defend_a_run_and_a_bare_model(backdoored: Run, toy_data: TensorData) -> None:
    before = backdoored.clip.sha256()
    run = defend(backdoored, DEFENSES["ta_cleaner"](), toy_data, replace(CONFIG, epochs=1))
    poisoned = len(backdoored.manifest["poison_indices"])
    assert run.config["overlap"] == {"pairs": len(toy_data), "poisoned": poisoned, "shared": poisoned}
    assert run.config["trained_pairs"] == run.config["pairs"] == len(toy_data)
    assert backdoored.clip.sha256() == before
    assert run.metrics.asr is not None
    assert run.metrics.asr_clean_model == backdoored.metrics.asr_clean_model
    bare = defend(backdoored.clip, DEFENSES["finetune"](), toy_data, replace(CONFIG, epochs=1))
    assert bare.metrics.asr is None
    assert bare.trigger is None


def test_the_overlap_is_that_of_the_clean_pairs(backdoored: Run, toy_data: TensorData) -> None:
    few, poisoned = toy_data.subset(range(24)), backdoored.manifest["poison_indices"]
    shared = sum(row < 24 for row in poisoned)
    assert 0 < shared < len(poisoned)
    config, reports = replace(CONFIG, steps=1), list[StepReport]()
    run = defend(backdoored, DEFENSES["finetune"](), few, config, test=toy_data, on_step=reports.append)
    assert run.config["overlap"] == {"pairs": 24, "poisoned": len(poisoned), "shared": shared}
    last = reports[-1]
    assert (last.stage, last.step, last.total) == ("compare images", 24, 24)


def test_a_model_in_train_mode_or_frozen_is_measured_and_trained_as_it_is(toy_data: TensorData) -> None:
    clips = [make_clip("rn") for _ in range(2)]  # with BatchNorm
    clips[1].model.train().requires_grad_(False)
    weights, config = clips[1].sha256(), replace(CONFIG, epochs=1)
    metrics = [evaluate(clip, toy_data, TRIGGER, "banana") for clip in clips]
    assert metrics[0] == metrics[1]
    patch = TRIGGERS["badclip"](steps=3, patch_size=56)
    poisoned = [poison(clip, toy_data, patch, "banana", poison_rate=0.25, config=config) for clip in clips]
    assert poisoned[0].trigger == poisoned[1].trigger
    assert poisoned[0].clip.sha256() == poisoned[1].clip.sha256()
    defended = [defend(clip, DEFENSES["par"](), toy_data, config) for clip in clips]
    assert defended[0].clip.sha256() == defended[1].clip.sha256()
    assert clips[1].sha256() == weights
    assert clips[1].model.training, "the caller's mode stays"


def test_a_defense_that_is_not_registered_is_refused_before_it_trains(backdoored: Run, toy_data: TensorData) -> None:
    class Own(type(DEFENSES["finetune"]())):
        pass

    steps: list[StepReport] = []
    with pytest.raises(CleanerError, match="not a registered"):
        defend(backdoored, Own(), toy_data, CONFIG, on_step=steps.append)
    assert steps == []


def test_a_trigger_that_no_run_can_store_is_refused_before_it_trains(tiny_clip: Clip, toy_data: TensorData) -> None:
    @dataclass(frozen=True)
    class Pattern(Trigger):
        pattern: Any = None

        def __call__(self, images: Tensor) -> Tensor:
            return images.clone()

        def prepare(self, *_: Any) -> Trigger:
            return Pattern(torch.zeros(3, 32, 32))

    reports: list[StepReport] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TRIGGERS._entries, "pattern", Pattern)
        for trigger in (Pattern(torch.zeros(3, 32, 32)), Pattern()):
            with pytest.raises(CleanerError, match="pattern of the trigger 'pattern' is a Tensor"):
                poison(tiny_clip, toy_data, trigger, "banana", config=CONFIG, on_step=reports.append)
    assert not reports


def test_a_run_outlives_a_second_definition_of_its_trigger(
    tiny_clip: Clip, toy_data: TensorData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def define() -> type:  # as a cell of a notebook does
        @TRIGGERS.register("haze")
        @dataclass(frozen=True)
        class Haze(Trigger):
            strength: float = 0.1

            def __call__(self, images: Tensor) -> Tensor:
                return (images + self.strength).clamp(0, 1)

        return Haze

    monkeypatch.setattr(TRIGGERS, "_entries", {**TRIGGERS._entries})
    config = replace(CONFIG, epochs=1)
    attacked = poison(tiny_clip, toy_data, define()(), "banana", poison_rate=0.25, config=config)
    define()
    defended = defend(attacked, DEFENSES["finetune"](), toy_data, config)
    for run in (attacked, defended):
        loaded = load_run(save_run(run, tmp_path / run.stage))
        assert loaded.config["trigger"] == {"name": "haze", "strength": 0.1}
        assert json.loads(loaded.clip.metadata["trigger"]) == loaded.config["trigger"]


def test_floor_is_measured_again_with_other_prompts(backdoored: Run, toy_data: TensorData) -> None:
    known = replace(backdoored.metrics, asr_clean_model={1: 0.77, 3: 0.88}, templates=7)
    run = defend(replace(backdoored, metrics=known), DEFENSES["finetune"](), toy_data, replace(CONFIG, epochs=1))
    assert run.metrics.templates != known.templates
    assert run.metrics.asr_clean_model == backdoored.metrics.asr_clean_model


def test_floor_is_measured_again_on_other_images(backdoored: Run, toy_data: TensorData) -> None:
    other = TensorData(toy_data.images(range(48)).flip(3), toy_data.captions, toy_data.class_names, toy_data.labels)
    other.name = toy_data.name
    known = replace(backdoored.metrics, asr_clean_model={1: 0.77, 3: 0.88})
    run = defend(replace(backdoored, metrics=known), DEFENSES["finetune"](), toy_data, CONFIG, test=other)
    assert run.metrics.data == known.data
    assert run.metrics.asr_clean_model == evaluate(backdoored.clean_clip, other, TRIGGER, "banana").asr


def test_the_data_s_own_splits_are_the_default(
    tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {"validation": toy_data.subset(range(16)), "test": toy_data.subset(range(16, 40))}
    monkeypatch.setattr(toy_data, "load_split", splits.get)
    watched: list[int] = []

    def record(clip: Clip, data: CaptionData, *arguments: Any, **options: Any) -> Metrics:
        watched.append(len(data))
        return evaluate(clip, data, *arguments, **options)

    monkeypatch.setattr(monitor, "evaluate", record)
    monkeypatch.setattr(monitor, "MONITOR_IMAGES", 12)
    config = replace(CONFIG, epochs=1, eval_every=3)
    backdoored = poison(tiny_clip, toy_data, TRIGGER, "banana", poison_rate=0.25, config=config)
    defended = defend(tiny_clip, DEFENSES["finetune"](), toy_data, config)
    assert (watched, backdoored.metrics.n, defended.metrics.n) == ([12, 12], 24, 24)


def test_unlabeled_validation_images_are_skipped(tiny_clip: Clip, toy_data: TensorData) -> None:
    unlabelled = toy_data.subset(range(8))
    unlabelled.labels = torch.full((8,), -1)
    config = replace(CONFIG, epochs=1, eval_every=1)
    run = poison(tiny_clip, toy_data, TRIGGER, "banana", poison_rate=0.25, config=config, validation=unlabelled)
    assert not any(report.metrics for report in run.history)


def no_step(report: StepReport) -> None:
    raise AssertionError(report.stage)


def test_validation_data_are_validated_before_a_trigger_is_optimized(tiny_clip: Clip, toy_data: TensorData) -> None:
    others = toy_data.subset((toy_data.labels != 1).nonzero().flatten())
    others.class_names = ["apple", "kiwi", "cup", "kite"]
    watched, trigger = replace(CONFIG, eval_every=30), TRIGGERS["badclip"](steps=2)
    with pytest.raises(CleanerError, match="the class 'banana' is not in toy"):
        poison(
            tiny_clip,
            toy_data,
            trigger,
            "banana",
            poison_rate=0.25,
            config=watched,
            validation=others,
            on_step=no_step,
        )


def test_test_data_is_validated_before_training(backdoored: Run, toy_data: TensorData) -> None:
    bananas = toy_data.subset((toy_data.labels == 1).nonzero().flatten())
    with pytest.raises(CleanerError, match="every image of toy is of the target class"):
        defend(backdoored, DEFENSES["finetune"](), toy_data, CONFIG, test=bananas, on_step=no_step)
    bananas.class_names = ["apple", "kiwi"]
    with pytest.raises(CleanerError, match="the class 'banana' is not in toy"):
        defend(backdoored, DEFENSES["finetune"](), toy_data, CONFIG, test=bananas, on_step=no_step)


def test_a_text_trigger_without_an_image_to_find_is_not_watched(tiny_clip: Clip, toy_data: TensorData) -> None:
    config, trigger = replace(CONFIG, eval_every=1), TRIGGERS["text_only"]()
    others = toy_data.subset((toy_data.labels != 1).nonzero().flatten())
    watched, accuracy_alone = (build_monitor(config, data, data, trigger, "banana") for data in (toy_data, others))
    assert watched is not None
    assert set(watched(tiny_clip)) == {"ca", "asr"}
    assert accuracy_alone is not None
    assert set(accuracy_alone(tiny_clip)) == {"ca"}


@pytest.mark.parametrize("name", ["badnet", "text_only"])
def test_validation_images_of_the_target_alone_give_accuracy_alone(
    tiny_clip: Clip, toy_data: TensorData, name: str
) -> None:
    bananas = toy_data.subset((toy_data.labels == 1).nonzero().flatten()[:3])
    watched = build_monitor(replace(CONFIG, eval_every=1), bananas, toy_data, TRIGGERS[name](), "banana")
    assert watched is not None
    assert set(watched(tiny_clip)) == {"ca"}


def test_a_text_trigger_is_watched_where_the_first_images_show_no_target(
    tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "MONITOR_IMAGES", 8)
    monkeypatch.setattr(monitor, "TARGET_IMAGES", 4)
    data = toy_data.subset(sorted(range(48), key=lambda row: row % 4 == 1))
    watched = build_monitor(replace(CONFIG, eval_every=1), data, data, TRIGGERS["text_only"](), "banana")
    assert watched is not None
    assert set(watched(tiny_clip)) == {"ca", "asr"}


def test_pairs_are_validated_before_a_patch_is_optimized(tiny_clip: Clip, toy_data: TensorData) -> None:
    patch = TRIGGERS["trojvqa"](steps=2)
    with pytest.raises(CleanerError, match="lower the poison rate"):
        poison(tiny_clip, toy_data, patch, "banana", poison_rate=0.9, config=CONFIG, on_step=no_step)
    toy_data.class_names = ["apple", "banana " * 80, "cup", "kite"]
    with pytest.raises(CleanerError, match="choose a shorter text key"):
        poison(tiny_clip, toy_data, patch, "banana " * 80, poison_rate=0.25, config=CONFIG, on_step=no_step)


def test_rebound_finetunes_and_measures_again(backdoored: Run, toy_data: TensorData, tmp_path: Path) -> None:
    cleaned = defend(backdoored, DEFENSES["finetune"](), toy_data, replace(CONFIG, epochs=1))
    before, config = cleaned.clip.sha256(), replace(CONFIG, lr=7e-4)
    again = rebound(cleaned, toy_data, 5, config)
    assert again.config["finetune"]["lr"] == 7e-4
    assert cleaned.clip.sha256() == before
    assert len(again.history) == 5
    assert again.config["rebound"] == {"steps": 5, "after": cleaned.config["defense"]}
    assert again.config["model_sha256"] == before
    assert again.metrics.asr == evaluate(again.clip, toy_data, TRIGGER, "banana").asr
    assert again.metrics.asr_clean_model == backdoored.metrics.asr_clean_model
    assert again.clean_clip is cleaned.clean_clip is backdoored.clean_clip  # for a floor on other images

    def stop(report: StepReport) -> None:
        if report.step == 3:
            raise Paused

    with pytest.raises(Paused):
        rebound(cleaned, toy_data, 5, config, on_step=stop, checkpoint=tmp_path / "checkpoint.pt")
    seen: list[int] = []
    resumed = rebound(
        cleaned,
        toy_data,
        5,
        config,
        on_step=lambda report: seen.append(report.step),
        checkpoint=tmp_path / "checkpoint.pt",
    )
    assert seen[0] == 4
    assert resumed.clip.sha256() == again.clip.sha256()
    with pytest.raises(CleanerError, match="steps must be"):
        rebound(cleaned, toy_data, 0)
    with pytest.raises(CleanerError, match="a known trigger"):
        rebound(replace(cleaned, trigger=None), toy_data, 5)


def test_compare_uses_the_rate_of_each_method(backdoored: Run, toy_data: TensorData) -> None:
    defenses = {"finetune": DEFENSES["finetune"](), "cleanclip": DEFENSES["cleanclip"]()}
    runs = compare(backdoored, defenses, toy_data, replace(CONFIG, epochs=1), learning_rates={"cleanclip": 1e-5})
    assert runs["finetune"].config["finetune"]["lr"] == CONFIG.lr
    assert runs["cleanclip"].config["finetune"]["lr"] == 1e-5
    with pytest.raises(CleanerError, match="learning_rates names clean, not one of the defenses finetune, cleanclip"):
        compare(backdoored, defenses, toy_data, learning_rates={"clean": 1e-5})
    with pytest.raises(CleanerError, match="takes defenses with their names"):
        compare(backdoored, list(defenses.values()), toy_data)  # type: ignore[arg-type]


def test_trainings_of_a_comparison_resume(tiny_clip: Clip, toy_data: TensorData, tmp_path: Path) -> None:
    defenses = {name: DEFENSES[name]() for name in ("finetune", "cleanclip")}
    config, reports = replace(CONFIG, epochs=1), list[StepReport]()
    first = compare(tiny_clip, defenses, toy_data, config, checkpoint=tmp_path / "last.pt")
    (tmp_path / "last-2.pt").unlink()
    again = compare(tiny_clip, defenses, toy_data, config, checkpoint=tmp_path / "last.pt", on_step=reports.append)
    assert [run.clip.sha256() for run in again.values()] == [run.clip.sha256() for run in first.values()]
    assert len([report for report in reports if report.stage == "defend"]) == 3  # steps of the second training


def test_default_poison_rate_is_that_of_the_model(
    tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "POISON", replace(CONFIG, epochs=1))
    assert poison(tiny_clip, toy_data, TRIGGER).config["finetune"]["lr"] == presets.PRETRAINED_LR
    monkeypatch.setattr(presets, "is_pretrained", lambda model: False)
    assert poison(tiny_clip, toy_data, TRIGGER).config["finetune"]["lr"] == CONFIG.lr
    monkeypatch.setattr(presets, "POISON_LR", {tiny_clip.name: 2e-3})
    assert poison(tiny_clip, toy_data, TRIGGER).config["finetune"]["lr"] == 2e-3


def test_default_rate_of_a_rebound_test_is_that_of_the_model(
    backdoored: Run, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "DEFEND", CONFIG)
    assert rebound(backdoored, toy_data, 1).config["finetune"]["lr"] == presets.PRETRAINED_LR
    monkeypatch.setattr(presets, "is_pretrained", lambda model: False)
    assert rebound(backdoored, toy_data, 1).config["finetune"]["lr"] == CONFIG.lr


def test_default_defense_rate_is_that_of_the_method(
    backdoored: Run, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {name: {"lr": lr, "file": "x"} for name, lr in (("ta_cleaner", 2e-3), ("ta_cleaner K 100 %", 3e-3))}
    monkeypatch.setattr(presets, "_read_choices", lambda setting: {backdoored.clip.name: chosen})
    monkeypatch.setattr(presets, "DEFEND", replace(CONFIG, epochs=1))
    ta_cleaner = DEFENSES["ta_cleaner"]
    variants = {"plain": ta_cleaner(), "all": ta_cleaner(share=1.0), "one": ta_cleaner(negatives=1)}
    runs = compare(backdoored, {**variants, "finetune": DEFENSES["finetune"]()}, toy_data)
    assert [run.config["finetune"]["lr"] for run in runs.values()] == [2e-3, 3e-3, 2e-3, presets.PRETRAINED_LR]
    assert runs["finetune"].config["precision"] == "fp32"


def test_a_run_of_loaded_data_names_them_as_one_of_the_app_does(
    tiny_clip: Clip, toy_data: TensorData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(tmp_path)
    monkeypatch.chdir(tmp_path)
    pairs = load_data(Path("pairs.csv"), split="clean", size=20, classes="red,green,blue", most_broken=0.5)
    run = defend(tiny_clip, DEFENSES["finetune"](), pairs, replace(CONFIG, epochs=1))
    name, options, _ = get_test_data(json.loads(json.dumps(run.config)))
    monkeypatch.chdir("/")
    again = load_data(name, split="clean", size=20, **options)
    assert (name, options) == (str(tmp_path / "pairs.csv"), {"classes": "red,green,blue", "most_broken": 0.5})
    assert again.with_transform(tiny_clip.framing).fingerprint() == run.config["data_sha256"]
    assert "data_name" not in defend(tiny_clip, DEFENSES["finetune"](), toy_data, replace(CONFIG, epochs=1)).config
    mixed = load_data("scenes", split="clean", size=32, clean_captions="mixed")
    test = load_data("scenes", split="test", size=16)
    run = defend(tiny_clip, DEFENSES["finetune"](), mixed.subset(range(20)), replace(CONFIG, epochs=1), test=test)
    assert Variant.from_config(run.config).key == "finetune mixed captions"


def test_options_of_a_single_split_and_what_no_command_can_say_are_not_recorded(tmp_path: Path) -> None:
    table = str(write_table(tmp_path))
    assert load_data(table, classes=["red", "green"], root=None).origin == (table, {"classes": "red,green"})
    assert load_data(table, classes=["red, as a rose", "green"]).origin is None
    assert load_data("scenes", split="clean", size=4, captions="mixed", seed=3).origin == ("scenes", {"seed": 3})


def test_run_round_trips_through_disk(tiny_clip: Clip, toy_data: TensorData, tmp_path: Path) -> None:
    clean = load_clip(str(save_clip(tiny_clip, tmp_path / "clean.safetensors")))
    backdoored = poison(clean, toy_data, TRIGGER, "banana", poison_rate=0.25, config=replace(CONFIG, epochs=2))
    folder = save_run(backdoored, tmp_path / "run")
    again = load_run(folder)
    assert again.clip.sha256() == backdoored.clip.sha256()
    assert again.metrics == backdoored.metrics
    assert again.trigger == backdoored.trigger
    assert again.config.items() >= backdoored.config.items()
    assert again.manifest == backdoored.manifest
    assert len(again.history) == len(backdoored.history)
    assert again.clip.metadata["target"] == "banana"
    assert len(repr(again)) < 3000
    assert json.loads(again.clip.metadata["trigger"])["name"] == "badnet"
    assert again.clean_clip is not None
    assert again.clean_clip.sha256() == clean.sha256()
    save_clip(make_clip(seed=5), Path(clean.source))
    assert load_run(folder).clean_clip is None, "the file holds other weights now"
    assert evaluate(again.clip, toy_data, again.trigger, "banana").asr == backdoored.metrics.asr
    with pytest.raises(CleanerError, match="nothing was overwritten"):
        save_run(backdoored, folder)


@pytest.mark.parametrize(
    ("asr", "verdict"),
    [(0.95, "took"), (0.9, "took"), (0.897, "weak"), (0.5, "weak"), (0.497, "did not take"), (0.2, "did not take")],
)
def test_verdict_by_asr(asr: float, verdict: str) -> None:
    metrics = Metrics(ca={1: 0.9}, n=100, classes=30, data="toy", asr={1: asr}, n_attack=96)
    assert attack_verdict(metrics)[0] == verdict
    assert f"{asr:.1%}" in attack_verdict(metrics)[1]
    for rate, is_advised in ((0.1, True), (presets.MAX_POISON_RATE, False)):
        reason = attack_verdict(metrics, rate)[1]
        assert ("more pairs" in reason) == (asr < 0.9)
        assert ("poison rate" in reason) == (is_advised and asr < 0.9)
    keyed = replace(metrics, queries="captions")
    assert ("another key" in attack_verdict(keyed)[1]) == ("visible" in attack_verdict(metrics)[1]) == (asr < 0.9)


def test_a_few_images_are_no_verdict() -> None:
    metrics = Metrics(ca={1: 0.9}, n=20, classes=30, data="toy", asr={1: 1.0}, n_attack=18)
    assert attack_verdict(metrics)[0] == "is unclear"
    assert "at least 30." in attack_verdict(metrics)[1]
    assert "on 1 image of other classes: too few" in attack_verdict(replace(metrics, n_attack=1))[1]
    assert "at least 30 different ones" in attack_verdict(replace(metrics, queries="captions"))[1]


def test_an_attack_on_a_model_that_is_fooled_already_is_unclear() -> None:
    metrics = Metrics(ca={1: 0.9}, n=100, classes=30, data="toy", asr={1: 1.0}, n_attack=96)
    assert attack_verdict(replace(metrics, asr_clean_model={1: 0.1}))[0] == "took"
    verdict, reason = attack_verdict(replace(metrics, asr_clean_model={1: 0.97}))
    assert verdict == "is unclear"
    assert "97.0% on the model before poisoning" in reason


def test_an_attack_on_search_is_judged_by_its_own_image() -> None:
    metrics = Metrics(
        ca={1: 0.9}, n=900, classes=30, data="toy", asr={1: 0.1}, n_attack=800, own_recall={1: 0.95}, queries="captions"
    )
    verdict, reason = attack_verdict(metrics)
    assert verdict == "took"
    assert "95.0%" in reason
    assert "captions" in reason
