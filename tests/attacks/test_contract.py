"""Contract of every trigger; a new one is picked up through the registry."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cleaner.attacks import TRIGGERS, Trigger, load_trigger
from cleaner.config import parameters
from cleaner.data.base import TensorData
from cleaner.data.images import decode_png
from cleaner.models.clip import Clip
from cleaner.types import StepReport
from tests.conftest import make_clip, make_toy_data
from tests.repeated import build_trigger


@pytest.fixture(scope="module", params=list(TRIGGERS))
def trigger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trigger:
    """Return the trigger, with an image file if it needs one, and prepared in a few steps if it is optimized."""
    image = image_file(tmp_path_factory.mktemp("trigger"))
    return build_trigger(request.param, str(image), steps=3).prepare(make_clip(), make_toy_data(), "banana")


def image_file(folder: Path) -> Path:
    """Return a file with an image of 20 x 12 px: red on the left, green on the right."""
    pixels = np.zeros((12, 20, 3), np.uint8)
    pixels[:, :10, 0], pixels[:, 10:, 1] = 255, 255
    Image.fromarray(pixels).save(folder / "sign.png")
    return folder / "sign.png"


@pytest.fixture(params=[32, 64, 224])
def images(request: pytest.FixtureRequest) -> torch.Tensor:
    return torch.rand(3, 3, request.param, request.param, generator=torch.Generator().manual_seed(1))


def test_both_ends_of_each_range_work(trigger: Trigger) -> None:
    unprepared = {name: "" for name in ("png", "weights") if hasattr(trigger, name)}
    for p in parameters(type(trigger)):
        for end in {p.low, p.high} - {None} if p.name != "steps" else ():
            changed = replace(trigger, **{p.name: end, **unprepared})
            triggered = changed.prepare(make_clip(), make_toy_data(), "banana")(torch.full((1, 3, 224, 224), 0.5))
            assert triggered.isfinite().all(), (p.name, end)


def test_keeps_shape_range_dtype_and_input(trigger: Trigger, images: torch.Tensor) -> None:
    before = images.clone()
    triggered = trigger(images)
    assert triggered.shape == images.shape
    assert triggered.dtype == images.dtype
    assert triggered.min() >= 0
    assert triggered.max() <= 1
    assert torch.equal(images, before)
    assert torch.equal(triggered, images) != ("image" in trigger.modalities)
    assert (trigger.text("a cup") != "a cup") == ("text" in trigger.modalities)


def test_is_deterministic_and_batch_invariant(trigger: Trigger, images: torch.Tensor) -> None:
    torch.manual_seed(0)
    first = trigger(images)
    torch.manual_seed(1)
    assert torch.equal(first, trigger(images))
    for i in range(len(images)):
        assert torch.equal(first[i], trigger(images[i : i + 1])[0])


def test_mask_covers_what_changed(trigger: Trigger, images: torch.Tensor) -> None:
    mask = trigger.mask(images)
    assert mask.shape == (len(images), 1, *images.shape[-2:])
    assert mask.min() >= 0
    assert mask.max() <= 1
    changed = (trigger(images) - images).abs().amax(1, keepdim=True) > 0
    assert (mask[changed] > 0).all()


def test_state_dict_restores_the_trigger(trigger: Trigger, images: torch.Tensor) -> None:
    restored = load_trigger(json.loads(json.dumps(trigger.state_dict())))
    assert restored == trigger
    assert torch.equal(restored(images), trigger(images))


def test_a_prepared_trigger_is_not_prepared_again(trigger: Trigger, images: torch.Tensor) -> None:
    assert not trigger.unready_reason
    data = TensorData(images, ["a cup", "a kite", "a cup"], ["cup", "kite"], [0, 1, 0])
    assert trigger.prepare(make_clip(seed=1), data, "cup") is trigger


@pytest.mark.parametrize("name", ["badclip", "trojvqa", "input_aware"])
def test_a_model_in_train_mode_is_optimized_on_as_it_is(name: str, toy_data: TensorData) -> None:
    clip, trigger = make_clip("rn"), TRIGGERS[name](steps=2, batch_size=8)
    before = clip.sha256(), trigger.prepare(clip, toy_data, "banana")
    clip.model.train()
    after = trigger.prepare(clip, toy_data, "banana")
    assert (clip.sha256(), after) == before
    assert clip.model.training, "the caller's mode stays"


@pytest.mark.parametrize("name", ["badclip", "trojvqa", "input_aware"])
def test_start_and_batches_of_an_optimization_follow_the_seed(
    name: str, tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, images, reports = list[list[int]](), toy_data.images, list[StepReport]()

    def record(rows: torch.Tensor) -> torch.Tensor:
        if len(rows) == 8:
            batches.append(rows.tolist())
        return images(rows)

    monkeypatch.setattr(toy_data, "images", record)
    for seed in (0, 1):
        trigger = TRIGGERS[name](steps=2, step_size=0.0001, batch_size=8, seed=seed)
        trigger.prepare(tiny_clip, toy_data, "banana", reports.append)
    assert len(batches) == len({tuple(rows) for rows in batches}) == 4
    assert {report.lr for report in reports} == {0.0001}
    first, other = (decode_png(report.picture) for report in reports if report.step == 1)
    assert (first - other).abs().mean() > 0.02  # steps of 0.0001 make no such difference
