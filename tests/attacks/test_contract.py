"""What every trigger must do; a new one is picked up through the registry."""

from __future__ import annotations

import pytest
import torch

from cleaner.attacks import TRIGGERS, Trigger, load_trigger


@pytest.fixture(params=list(TRIGGERS))
def trigger(request: pytest.FixtureRequest) -> Trigger:
    return TRIGGERS[request.param]()


@pytest.fixture(params=[32, 64, 224])
def images(request: pytest.FixtureRequest) -> torch.Tensor:
    return torch.rand(3, 3, request.param, request.param, generator=torch.Generator().manual_seed(1))


def test_keeps_shape_range_dtype_and_input(trigger: Trigger, images: torch.Tensor) -> None:
    before = images.clone()
    triggered = trigger(images)
    assert triggered.shape == images.shape
    assert triggered.dtype == images.dtype
    assert triggered.min() >= 0
    assert triggered.max() <= 1
    assert torch.equal(images, before)
    assert not torch.equal(triggered, images)


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


def test_state_dict_makes_the_same_trigger_again(trigger: Trigger, images: torch.Tensor) -> None:
    assert torch.equal(load_trigger(trigger.state_dict())(images), trigger(images))
