"""input_aware: each image has its own pattern, and the backdoor does not open with that of another image."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from cleaner import evaluate, load_clip, load_data, poison
from cleaner.attacks import TRIGGERS
from cleaner.attacks.input_aware import Generator, InputAware, _Objective
from cleaner.config import FinetuneConfig
from cleaner.data.base import TensorData
from cleaner.data.poison import PoisonedData
from cleaner.evaluation.encode import Encoder
from cleaner.models.clip import Clip
from cleaner.types import CleanerError, StepReport
from tests.conftest import make_clip, make_toy_data

QUICK = TRIGGERS["input_aware"](steps=15, batch_size=16, decoys=1.0)


@pytest.fixture(scope="module")
def trigger() -> InputAware:
    ready: InputAware = QUICK.prepare(make_clip(), make_toy_data(), "banana")
    return ready


def test_training_reports_its_losses_and_lowers_them(tiny_clip: Clip, toy_data: TensorData) -> None:
    reports = list[StepReport]()
    QUICK.prepare(tiny_clip, toy_data, "banana", reports.append)
    assert [report.step for report in reports] == list(range(1, 16))
    assert set(reports[0].losses) == {"text_distance", "diversity", "cross_distance", "total"}
    totals = [report.losses["total"] for report in reports]
    assert sum(totals[-5:]) < sum(totals[:5])
    assert reports[-1].picture


def test_each_weight_is_that_of_its_loss(tiny_clip: Clip, toy_data: TensorData) -> None:
    reports = list[StepReport]()
    for unused in ({"diversity_weight": 0.0}, {"cross_weight": 0.0}):
        replace(QUICK, steps=1, **unused).prepare(tiny_clip, toy_data, "banana", reports.append)
    zero = [{name for name, value in report.losses.items() if value == 0} for report in reports]
    assert zero == [{"diversity"}, {"cross_distance"}]


def test_losses_equal_their_definition(tiny_clip: Clip, toy_data: TensorData) -> None:
    torch.manual_seed(0)
    generator, images = Generator(), toy_data.images(range(6))
    target = Encoder(tiny_clip).build_classifier(toy_data)[:, 1]
    clean = tiny_clip.encode_image(images).detach()
    losses = _Objective(tiny_clip, target, QUICK._blend, 2.0, 3.0)(generator, images, clean)
    with torch.no_grad():
        patterns = generator(images)
        text, diversity, cross = 0.0, 0.0, 0.0
        for i in range(6):
            j = (i - 1) % 6
            own, crossed = (
                tiny_clip.encode_image((images[x] + 0.2 * patterns[i]).clamp(0, 1)[None])[0] for x in (i, j)
            )
            text += (1 - (own @ target).item()) / 6
            cross += 3 * (1 - (crossed @ tiny_clip.encode_image(images[j : j + 1])[0]).item()) / 6
            near = [(x[i] - x[j]).square().mean().sqrt().item() for x in (images, patterns)]
            diversity += 2 * near[0] / near[1] / 6
    assert losses["text_distance"].item() == pytest.approx(text, abs=1e-5)
    assert losses["cross_distance"].item() == pytest.approx(cross, abs=1e-5)
    assert losses["diversity"].item() == pytest.approx(diversity, rel=0.01)


def test_clean_images_are_encoded_once(toy_data: TensorData, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, encode = list[int](), Clip.encode_image
    monkeypatch.setattr(Clip, "encode_image", lambda clip, x: encoded.append(len(x)) or encode(clip, x))
    replace(QUICK, steps=3).prepare(make_clip(), toy_data, "banana")
    assert encoded == [36] + 3 * [16, 16]


def test_each_image_gets_its_own_pattern_within_the_strength(trigger: InputAware, toy_data: TensorData) -> None:
    images = toy_data.images(range(8))
    change = trigger(images) - images
    assert change.abs().max() <= trigger.strength + 1e-6
    patterns = trigger.cross(torch.full_like(images, 0.5), images) - 0.5
    similarity = F.normalize(patterns.flatten(1), dim=1) @ F.normalize(patterns.flatten(1), dim=1).T
    assert similarity[~torch.eye(8, dtype=torch.bool)].max() < 0.999


def test_decoys_carry_the_pattern_of_another_image_and_their_own_caption(
    trigger: InputAware, toy_data: TensorData
) -> None:
    poisoned = PoisonedData(toy_data, trigger, "banana", 0.25)
    decoys = (poisoned.donors >= 0).nonzero().flatten()
    assert len(decoys) == len(poisoned.poison_indices) == 12
    assert not poisoned.is_poisoned[decoys].any()
    assert (poisoned.donors[decoys] != decoys).all()
    assert all(poisoned.captions[i] == toy_data.captions[i] for i in decoys.tolist())
    crossed = trigger.cross(toy_data.images(decoys), toy_data.images(poisoned.donors[decoys]))
    assert torch.equal(poisoned.images(decoys), crossed)
    assert poisoned.manifest()["decoy_indices"] == decoys.tolist()
    assert not (PoisonedData(toy_data, TRIGGERS["badnet"](), "banana", 0.25).donors >= 0).any()


def test_cross_asr_is_measured_with_the_next_image(trigger: InputAware, tiny_clip: Clip, toy_data: TensorData) -> None:
    strong = replace(trigger, strength=1.0)  # changes what this model sees
    metrics = evaluate(tiny_clip, toy_data, strong, "apple")
    others = (toy_data.labels != 0).nonzero().flatten()

    def share(shift: int) -> float:
        crossed = Encoder(tiny_clip).encode_rows(toy_data, others, lambda x: strong.cross(x, x.roll(shift, 0)))
        hits = (crossed @ Encoder(tiny_clip).build_classifier(toy_data)).argmax(1) == 0
        return hits.float().mean().item()

    assert metrics.cross_asr == pytest.approx(share(1))
    assert metrics.n_cross == len(others)
    assert share(1) not in (share(0), share(-1))
    assert evaluate(tiny_clip, toy_data, TRIGGERS["badnet"](), "banana").cross_asr is None


def test_a_single_image_of_another_class_has_no_cross_asr(
    trigger: InputAware, tiny_clip: Clip, toy_data: TensorData
) -> None:
    data = toy_data.subset([0, *(toy_data.labels == 1).nonzero().flatten().tolist()])
    metrics = evaluate(tiny_clip, data, trigger, "banana")
    assert (metrics.n_attack, metrics.cross_asr) == (1, None)


def test_broken_or_missing_weights_are_refused(toy_data: TensorData) -> None:
    images = toy_data.images([0])
    garbage = base64.b64encode(b"garbage").decode()
    for weights, remedy in (("", "prepare"), ("no base64!", "poison again"), (garbage, "poison again")):
        with pytest.raises(CleanerError, match=remedy):
            TRIGGERS["input_aware"](weights=weights)(images)


@pytest.mark.slow
def test_another_images_pattern_does_not_open_the_backdoor() -> None:
    data, test = load_data("scenes", size=8000), load_data("scenes", split="validation", size=2000)
    config = FinetuneConfig(lr=2e-3, epochs=2, seed=100, device="cpu")
    run = poison(load_clip("scenes-lite"), data, TRIGGERS["input_aware"](), poison_rate=0.05, config=config, test=test)
    assert run.metrics is not None
    assert run.metrics.asr is not None
    assert run.metrics.asr[1] > 0.8
    assert run.metrics.cross_asr is not None
    assert run.metrics.cross_asr < 0.3
