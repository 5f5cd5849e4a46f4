"""rvpt: class loss plus repelling, a frozen model, prompts that stay with the defended one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cleaner.config import FinetuneConfig
from cleaner.data.base import TensorData
from cleaner.defenses import DEFENSES
from cleaner.evaluation.evaluate import evaluate
from cleaner.losses import Features, class_loss
from cleaner.models.clip import load_clip, save_clip
from cleaner.training.loop import finetune
from cleaner.types import CleanerError, Paused, StepReport
from cleaner.workflow import defend
from tests.conftest import make_clip, make_toy_data
from tests.defenses import features

RVPT = DEFENSES["rvpt"](prompt_tokens=8)
CONFIG = FinetuneConfig(lr=1e-2, epochs=4, batch_size=16, warmup_steps=0, precision="fp32", device="cpu")
PROMPTS = "visual.transformer.prompts"


def make_labeled_features() -> Features:
    """Return features of five pairs, one of them without a class, and of three class prompts."""
    labels = torch.tensor([2, 0, -1, 1, 2])
    return replace(features.make_features(), labels=labels, classes=features.unit_rows(3, 8, seed=9))


def naive_class_loss(f: Features) -> float:
    assert f.labels is not None
    assert f.classes is not None
    rows = []
    for image, label in zip(f.image.numpy(), f.labels.tolist(), strict=True):
        if label >= 0:
            logits = features.SCALE * f.classes.numpy() @ image
            rows.append(np.log(np.exp(logits).sum()) - logits[label])
    return float(np.mean(rows))


def test_class_loss_equals_naive_and_skips_pairs_without_a_class() -> None:
    f = make_labeled_features()
    assert class_loss(f).item() == pytest.approx(naive_class_loss(f), rel=1e-5)
    nothing = replace(f, labels=torch.full((5,), -1))
    assert class_loss(nothing).item() == 0
    with pytest.raises(ValueError, match="labels"):
        class_loss(features.make_features())


def test_losses_are_named_and_weighted() -> None:
    rows = [torch.tensor([[1.0, 0.0]] * 5), torch.tensor([[3.0, 4.0]] * 5)]
    f = replace(make_labeled_features(), blocks=(rows[0],) * 4)
    reference = replace(f, blocks=(rows[0], rows[1], rows[0], rows[0]))
    losses = DEFENSES["rvpt"](repelling_weight=3.0).losses(replace(f, reference=reference))
    assert {name: value.item() for name, value in losses.items()} == {
        "class_loss": pytest.approx(naive_class_loss(f), rel=1e-5),
        "repelling_loss": pytest.approx(3 * (0.6 + 1 + 1) / 3),
    }
    with pytest.raises(ValueError, match="reference"):
        RVPT.losses(f)


@pytest.mark.parametrize(("layers", "share", "prompted"), [(1, 0.25, 1), (6, 0.25, 5), (12, 0.25, 9)])
def test_prompts_enter_the_repelled_blocks(layers: int, share: float, prompted: int) -> None:
    defense = DEFENSES["rvpt"](skip_share=share, prompt_tokens=3)
    prompts = defense.prepare(make_clip(layers=layers), seed=0).model.state_dict()[PROMPTS]
    assert prompts.shape == (prompted, 3, 32)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_prompts_alone_are_trained_and_both_losses_fall(optimizer: str, toy_data: TensorData) -> None:
    clip = make_clip(layers=4)
    before = {name: value.clone() for name, value in clip.model.state_dict().items()}
    defense = replace(RVPT, optimizer=optimizer)
    config = replace(CONFIG, lr=1e-2 if optimizer == "adamw" else 0.1)
    result = finetune(clip, toy_data, defense, config)
    after = result.clip.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    new = defense.prepare(clip, config.seed).model.state_dict()[PROMPTS]
    assert (after[PROMPTS] - new).abs().max() > 0.01
    first, last = result.history[0].losses, result.history[-1].losses
    assert 0.9 < first["repelling_loss"] / 2 < 1
    assert last["repelling_loss"] < first["repelling_loss"]
    assert np.isfinite(last["class_loss"])
    assert last["total"] < first["total"]
    assert all(weight.requires_grad for weight in result.clip.model.parameters())  # a rebound test trains them all


def test_sgd_has_the_momentum_of_the_config_and_no_decay() -> None:
    prepared = RVPT.prepare(make_clip(layers=4), seed=0)
    sgd = replace(RVPT, optimizer="sgd").build_optimizer(prepared.model, replace(CONFIG, beta1=0.8, weight_decay=0.02))
    assert isinstance(sgd, torch.optim.SGD)
    (group,) = sgd.param_groups
    assert (group["momentum"], group["weight_decay"], len(group["params"])) == (0.8, 0, 1)
    assert RVPT.build_optimizer(prepared.model, CONFIG) is None


def test_pairs_without_a_class_are_skipped(toy_data: TensorData) -> None:
    labels = [label if i % 3 else -1 for i, label in enumerate(toy_data.labels.tolist())]
    mixed = TensorData(toy_data._images, toy_data.captions, toy_data.class_names, labels, name="mixed")
    labeled = RVPT.select(mixed)
    assert len(labeled) == 32
    assert (labeled.labels >= 0).all()
    assert RVPT.select(toy_data) is toy_data
    config = replace(CONFIG, epochs=1)
    trained = finetune(make_clip(layers=4), mixed, RVPT, config)
    history = trained.history
    assert (trained.pairs, len(history)) == (32, 2)
    assert history == [
        replace(ours, seconds=theirs.seconds)
        for ours, theirs in zip(finetune(make_clip(layers=4), labeled, RVPT, config).history, history, strict=True)
    ]


def test_class_loss_of_the_first_step_uses_the_prompt_of_every_class(toy_data: TensorData) -> None:
    clip, config = make_clip(layers=4), replace(CONFIG, steps=1, batch_size=48, seed=3)  # new prompts follow the seed
    (report,) = finetune(clip, toy_data, RVPT, config).history
    prompted = RVPT.prepare(clip, config.seed)
    with torch.no_grad():
        classes = clip.encode_text([f"a photo of a {name}" for name in toy_data.class_names])
        logits = clip.logit_scale * prompted.encode_image(toy_data.images(range(48))) @ classes.T
        expected = torch.nn.functional.cross_entropy(logits, toy_data.labels)
    assert report.losses["class_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_resumed_training_equals_an_uninterrupted_one(toy_data: TensorData, tmp_path: Path) -> None:
    clip, defense = make_clip(layers=4), replace(RVPT, optimizer="sgd")
    whole = finetune(clip, toy_data, defense, CONFIG)

    def stop(report: StepReport) -> None:
        if report.step == 5:
            raise Paused

    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Paused):
        finetune(clip, toy_data, defense, CONFIG, on_step=stop, checkpoint=path)
    resumed = finetune(clip, toy_data, defense, CONFIG, checkpoint=path)
    assert resumed.clip.sha256() == whole.clip.sha256()
    assert [r.losses for r in resumed.history] == [r.losses for r in whole.history]


def test_the_defended_model_is_evaluated_saved_loaded_and_trained_again(toy_data: TensorData, tmp_path: Path) -> None:
    clip = make_clip(layers=4)
    run = defend(clip, RVPT, toy_data, replace(CONFIG, epochs=1))
    assert run.clip.sha256() != clip.sha256()
    loaded = load_clip(str(save_clip(run.clip, tmp_path / "model.safetensors")))
    assert loaded.sha256() == run.clip.sha256()
    assert loaded.metadata["stage"] == "defended"
    assert run.metrics is not None
    assert evaluate(loaded, toy_data, None, None, ks=(1, 3)).ca == run.metrics.ca
    again = finetune(loaded, toy_data, DEFENSES["finetune"](), replace(CONFIG, lr=1e-3, epochs=1)).clip
    changed = {
        name for name, weight in again.model.state_dict().items() if (weight != loaded.model.state_dict()[name]).any()
    }
    assert {PROMPTS, "visual.proj", "text_projection"} <= changed
    with pytest.raises(CleanerError, match="visual prompts already"):
        finetune(loaded, toy_data, RVPT, CONFIG)


def test_a_resnet_is_refused(toy_data: TensorData) -> None:
    with pytest.raises(CleanerError, match=r"rvpt .* tiny-rn .* choose a ViT"):
        finetune(make_clip("rn"), toy_data, RVPT, CONFIG)


def test_data_without_labels_are_refused() -> None:
    toy = make_toy_data()
    unlabeled = TensorData(toy._images, toy.captions, toy.class_names, [-1] * 48, name="captions")
    nameless = TensorData(toy._images, toy.captions, [], [-1] * 48, name="captions")
    for data in (unlabeled, nameless):
        with pytest.raises(CleanerError, match=r"rvpt needs class labels, and captions have none.* feature_repelling"):
            finetune(make_clip(), data, RVPT, CONFIG)
    assert DEFENSES["feature_repelling"]().unsupported_reason(make_clip(), nameless) is None
