"""Training of SSBA's networks: bits are learned, resuming changes nothing, generated images are valid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import ssba, textures
from cleaner.attacks.steganography import StegoNetworks, load_networks, save_networks
from cleaner.data.base import TensorData
from cleaner.seed import torch_generator

OPTIONS = ssba.Options(steps=6, epoch=3, batch_size=4)


def training_data() -> list[TensorData]:
    images = torch.rand(6, 3, 64, 64, generator=torch_generator("pictures"))
    return [TensorData(images, ["a thing"] * 6, ["thing"], [0] * 6)]


def test_resumed_training_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, _ = ssba.train(training_data(), OPTIONS, tmp_path / "whole.ckpt")
    assert "step 3 of 6: reading 0." in capsys.readouterr().out

    def stop(step: int, steps: int) -> float:
        if step == 4:
            raise KeyboardInterrupt
        return rate(step, steps)

    rate = ssba.lr_factor
    monkeypatch.setattr(ssba, "lr_factor", stop)
    with pytest.raises(KeyboardInterrupt):
        ssba.train(training_data(), OPTIONS, tmp_path / "part.ckpt")
    monkeypatch.setattr(ssba, "lr_factor", rate)
    resumed, _ = ssba.train(training_data(), OPTIONS, tmp_path / "part.ckpt")
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_bits_are_learned_from_a_visible_residual(tmp_path: Path) -> None:
    """60 steps suffice to read most bits from a visible residual."""
    options = replace(OPTIONS, steps=60, epoch=60, batch_size=8, easy_steps=10_000, lr=4e-3)
    pair, _ = ssba.train(training_data(), options, tmp_path / "easy.ckpt")
    images, bits = training_data()[0].images(range(6)), torch.randint(0, 2, (6, 64), generator=torch_generator("bits"))
    with torch.no_grad():
        right = ((pair.decode(pair.hide(images, bits, ssba.EASY_PSNR)) > 0) == bits).float().mean()
        untrained = ((StegoNetworks().decode(images) > 0) == bits).float().mean()
    assert right > max(0.6, untrained + 0.05)


@pytest.mark.parametrize("kind", [textures.power_law_noise, textures.color_gradients, textures.dead_leaves])
def test_generated_images_depend_on_the_seed_alone(kind: Callable[[int, int, torch.Generator], torch.Tensor]) -> None:
    first, again, other = (kind(5, 64, torch_generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    for images in (first, textures.augment(first, torch_generator(2))):
        assert images.shape == (5, 3, 64, 64)
        assert 0 <= images.min() < images.max() <= 1
    assert (first[0] - first[1]).abs().mean() > 0.01


def test_flat_regions_weigh_more_than_busy_ones() -> None:
    image = torch.full((1, 3, 64, 64), 0.5)
    image[..., 32:] = torch.rand(1, 3, 64, 32, generator=torch_generator(3))
    weight = ssba.visibility_map(image)
    assert weight.mean().item() == pytest.approx(1)
    assert weight[..., :28].mean() > 3 * weight[..., 36:].mean()


def test_saved_networks_are_rounded_to_fp16(tmp_path: Path) -> None:
    pair = StegoNetworks()
    save_networks(pair, tmp_path / "pair.safetensors", {"stage": "clean"})
    for key, value in load_networks(tmp_path / "pair.safetensors").state_dict().items():
        assert torch.equal(value, pair.state_dict()[key].half().float())
