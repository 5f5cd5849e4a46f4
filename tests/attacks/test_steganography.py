"""Training of SSBA's networks: bits are learnt, an interrupted training ends as a whole one, pictures are sound."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import ssba, textures
from cleaner.attacks.steganography import StegoNetworks, load_networks, save_networks
from cleaner.data.base import TensorData
from cleaner.seed import torch_generator

OPTIONS = ssba.Options(steps=6, epoch=3, batch_size=4)


def shown() -> list[TensorData]:
    images = torch.rand(6, 3, 64, 64, generator=torch_generator("pictures"))
    return [TensorData(images, ["a thing"] * 6, ["thing"], [0] * 6)]


def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, _ = ssba.train(shown(), OPTIONS, tmp_path / "whole.ckpt")
    assert "step 3 of 6: reading 0." in capsys.readouterr().out

    def stop(step: int, steps: int) -> float:
        if step == 4:
            raise KeyboardInterrupt
        return rate(step, steps)

    rate = ssba.lr_factor
    monkeypatch.setattr(ssba, "lr_factor", stop)
    with pytest.raises(KeyboardInterrupt):
        ssba.train(shown(), OPTIONS, tmp_path / "part.ckpt")
    monkeypatch.setattr(ssba, "lr_factor", rate)
    resumed, _ = ssba.train(shown(), OPTIONS, tmp_path / "part.ckpt")
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_bits_are_learnt_where_they_are_easy_to_see(tmp_path: Path) -> None:
    """Enough steps to read most bits from a well visible residual, on one thread in seconds."""
    options = replace(OPTIONS, steps=60, epoch=60, batch_size=8, easy_steps=10_000, lr=4e-3)
    pair, _ = ssba.train(shown(), options, tmp_path / "easy.ckpt")
    images, bits = shown()[0].images(range(6)), torch.randint(0, 2, (6, 64), generator=torch_generator("bits"))
    with torch.no_grad():
        right = ((pair.decode(pair.hide(images, bits, ssba.EASY_PSNR)) > 0) == bits).float().mean()
        untrained = ((StegoNetworks().decode(images) > 0) == bits).float().mean()
    assert right > max(0.6, untrained + 0.05)


@pytest.mark.parametrize("kind", [textures.power_law_noise, textures.color_gradients, textures.dead_leaves])
def test_made_pictures_and_views_are_drawn_by_their_seed_alone(kind: object) -> None:
    assert callable(kind)
    first, again, other = (kind(5, 64, torch_generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    for pictures in (first, textures.augment(first, torch_generator(2))):
        assert pictures.shape == (5, 3, 64, 64)
        assert 0 <= pictures.min() < pictures.max() <= 1
    assert (first[0] - first[1]).abs().mean() > 0.01


def test_plain_places_count_more_than_busy_ones() -> None:
    picture = torch.full((1, 3, 64, 64), 0.5)
    picture[..., 32:] = torch.rand(1, 3, 64, 32, generator=torch_generator(3))
    weight = ssba.visibility_map(picture)
    assert weight.mean().item() == pytest.approx(1)
    assert weight[..., :28].mean() > 3 * weight[..., 36:].mean()


def test_saved_networks_are_the_same_but_for_fp16(tmp_path: Path) -> None:
    pair = StegoNetworks()
    save_networks(pair, tmp_path / "pair.safetensors", {"stage": "clean"})
    for key, value in load_networks(tmp_path / "pair.safetensors").state_dict().items():
        assert torch.equal(value, pair.state_dict()[key].half().float())
