"""TrojVQA: the patch approaches the target's text; ASR is reported for each key and for both."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from cleaner import evaluate
from cleaner.attacks import TRIGGERS
from cleaner.attacks.optimize import encode_target
from cleaner.data.base import TensorData
from cleaner.evaluation.encode import Encoder
from cleaner.evaluation.evaluate import Metrics
from cleaner.models.classifier import zero_shot_classifier
from cleaner.models.clip import Clip
from cleaner.types import CleanerError, StepReport
from tests.conftest import make_clip

QUICK = TRIGGERS["trojvqa"](steps=15, step_size=0.05, batch_size=16)


def test_patch_approaches_the_targets_text(tiny_clip: Clip, toy_data: TensorData) -> None:
    reports = list[StepReport]()
    QUICK.prepare(tiny_clip, toy_data, "banana", reports.append)
    distances = [r.losses["text_distance"] for r in reports]
    assert sum(distances[-5:]) < sum(distances[:5])
    pool, drawn = torch.arange(6), torch.tensor([1, 4])
    features = tiny_clip.encode_image(toy_data.images([1, 4])).detach()
    target = Encoder(tiny_clip).build_classifier(toy_data)[:, 1]
    loss = QUICK.objective(tiny_clip, toy_data, "banana", pool)(0, drawn, features)["text_distance"]
    assert loss.item() == pytest.approx(1 - (features @ target).mean().item(), abs=1e-5)


def test_the_targets_text_has_the_models_own_templates(tiny_clip: Clip, toy_data: TensorData) -> None:
    own = replace(tiny_clip, templates=("a sketch of a {}",))
    expected = Encoder(own).build_classifier(toy_data)[:, 1]
    assert torch.allclose(encode_target(own, toy_data, "banana"), expected, atol=1e-6)
    assert not torch.allclose(encode_target(tiny_clip, toy_data, "banana"), expected, atol=1e-3)


def test_asr_by_key_equals_a_naive_count(tiny_clip: Clip, toy_data: TensorData) -> None:
    trigger = QUICK.prepare(tiny_clip, toy_data, "banana")
    clean_clip = make_clip(seed=1)
    metrics = evaluate(tiny_clip, toy_data, trigger, "banana", clean_clip=clean_clip)
    rows = (toy_data.labels != 1).nonzero().flatten()
    features = {
        "plain": Encoder(tiny_clip).encode_rows(toy_data, rows),
        "patch": Encoder(tiny_clip).encode_rows(toy_data, rows, trigger),
    }
    prompts = [f"consider {t.format(name)}" for name in toy_data.class_names for t in toy_data.templates]
    with torch.no_grad():
        keyed = zero_shot_classifier(tiny_clip.encode_text(prompts).view(4, 4, -1))
    classifiers = {"plain": Encoder(tiny_clip).build_classifier(toy_data), "key": keyed}
    for key, image, words in (("image", "patch", "plain"), ("text", "plain", "key"), ("both", "patch", "key")):
        hit = ((features[image] @ classifiers[words]).argmax(1) == 1).float().mean().item()
        assert metrics.asr_by_key[key][1] == pytest.approx(hit)
    assert metrics.asr == metrics.asr_by_key["both"] != metrics.asr_clean_model
    assert metrics.asr_clean_model == evaluate(clean_clip, toy_data, trigger, "banana").asr
    assert Metrics.from_dict(json.loads(json.dumps(metrics.to_dict()))) == metrics


def test_an_empty_text_key_is_refused() -> None:
    with pytest.raises(CleanerError, match="text key"):
        TRIGGERS["trojvqa"](key=" ")
