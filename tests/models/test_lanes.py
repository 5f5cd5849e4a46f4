"""Two lanes: same features and gradients as in one piece, the same bits again, errors and threads as before."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from threading import Event
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from cleaner.models.lanes import MIN_ITEMS, encode_in_halves, run_in_lanes, split_threads
from tests.conftest import make_clip
from tests.waiting import wait_until

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)).double()


def gradients(net: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    net.zero_grad()
    features = encode_in_halves(net, images)
    (features @ features.T).square().mean().backward()
    return features.detach(), [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("count", [MIN_ITEMS, 21])
def test_features_and_gradients_are_those_of_one_piece(count: int) -> None:
    net, images = make_net(), torch.rand(count, 3, 8, 8, dtype=torch.float64)
    features, expected = gradients(net, images)
    with split_threads(CPU):
        in_lanes, first = gradients(net, images)
        repeated = [gradients(net, images)[1] for _ in range(5)]
    torch.testing.assert_close(in_lanes, features, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(first, expected, atol=1e-12, rtol=1e-12)
    assert all(torch.equal(a, b) for again in repeated for a, b in zip(again, first, strict=True))


def test_bf16_gradients_do_not_depend_on_what_the_other_lane_does() -> None:
    """torch's cache of converted weights belongs to all threads, and any of them empties it."""
    clip, images = make_clip("rn").to("cpu", "bf16"), torch.rand(16, 3, 32, 32)
    texts = [
        start + str(i) for start in ("cat ", "a cat on a green mat beside a small red house ") for i in range(100, 164)
    ]
    text_is_half_done, images_are_done = Event(), Event()
    blocks = 0

    def encode_images() -> Tensor:
        assert text_is_half_done.wait(timeout=60)
        features = clip.encode_image(images)
        images_are_done.set()
        return features

    def between_blocks(*_: object) -> None:
        nonlocal blocks
        blocks += 1
        text_is_half_done.set()
        assert images_are_done.wait(timeout=60)

    def train(*encoders: Callable[[], Tensor]) -> list[Tensor]:
        clip.model.zero_grad()
        image, text = run_in_lanes(*encoders)
        (image @ text.T).square().mean().backward()
        return [parameter.grad.clone() for parameter in clip.model.parameters() if parameter.grad is not None]

    encode_text = partial(clip.encode_text, texts)
    with split_threads(CPU):
        expected = train(partial(clip.encode_image, images), encode_text)
        cast(nn.Module, clip.model.transformer).register_forward_hook(between_blocks)
        in_lanes = train(encode_images, encode_text)
    assert blocks == 2
    assert all(torch.equal(a, b) for a, b in zip(in_lanes, expected, strict=True))


def test_each_half_is_encoded_by_a_lane_of_half_the_threads() -> None:
    seen: list[tuple[int, int, bool, bool]] = []

    def encode(texts: Sequence[str]) -> Tensor:
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        seen.append((len(texts), torch.get_num_threads(), *modes))
        return torch.tensor([[float(text)] for text in texts])

    texts = [str(i) for i in range(11)]
    for mode, flags in ((torch.no_grad(), (False, False)), (torch.inference_mode(), (False, True))):
        seen.clear()
        with split_threads(CPU), mode:
            assert torch.get_num_threads() == 1
            assert encode_in_halves(encode, texts).flatten().tolist() == list(range(11))
        assert sorted(seen) == [(5, 1, *flags), (6, 1, *flags)]
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize("device", [CPU, torch.device("meta")])
def test_one_piece_without_lanes(device: torch.device) -> None:
    """Outside of the block, for few items, with one thread, on another device."""
    sizes: list[int] = []

    def encode(items: Tensor) -> Tensor:
        sizes.append(len(items))
        return items

    encode_in_halves(encode, torch.rand(20, 2))
    with split_threads(device):
        encode_in_halves(encode, torch.rand(20 if device.type != "cpu" else MIN_ITEMS - 1, 2))
    torch.set_num_threads(1)
    with split_threads(CPU):
        encode_in_halves(encode, torch.rand(20, 2))
    assert sizes == [20, 20 if device.type != "cpu" else MIN_ITEMS - 1, 20]


@pytest.mark.parametrize("position", [0, 19])
def test_an_error_of_a_half_is_raised_and_the_threads_are_restored(position: int) -> None:
    def encode(items: Tensor) -> Tensor:
        if items.flatten().isnan().any():
            raise RuntimeError("out of memory")
        return items * 2

    images = torch.rand(20, 2)
    images[position] = float("nan")
    with pytest.raises(RuntimeError, match="out of memory"), split_threads(CPU):
        encode_in_halves(encode, images)
    assert torch.get_num_threads() == 2
    with split_threads(CPU):
        assert len(encode_in_halves(encode, torch.rand(20, 2))) == 20


def test_an_error_keeps_nothing_of_the_lanes_alive() -> None:
    """After running out of memory, a smaller attempt follows at once."""
    kept: list[weakref.ref[Tensor]] = []

    def fail() -> Tensor:
        activations = torch.rand(10)
        kept.append(weakref.ref(activations))
        raise RuntimeError("out of memory")

    gc.disable()  # which would free them later
    try:
        with split_threads(CPU), suppress(RuntimeError):
            run_in_lanes(fail, lambda: torch.rand(10))
        # A lane may still hold its error for a moment after it has passed it on.
        wait_until(lambda: kept[0]() is None, 5)
    finally:
        gc.enable()
