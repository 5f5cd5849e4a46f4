"""Outputs of blocks: class tokens of a ViT, pooled stages of a ResNet, next to unchanged features."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cleaner.models.architectures import Architecture
from cleaner.models.blocks import ImageEncoder, find_blocks
from cleaner.models.clip import Clip, build_clip
from tests.conftest import TINY, TINY_TEXT, make_clip

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
DEEP = replace(TINY["vit"], vision={**TINY["vit"].vision, "layers": 3})


def run_tower(clip: Clip, images: Tensor) -> list[Tensor]:
    """Return the output of each block, computed block by block as open_clip's tower does."""
    visual = clip.model.visual
    embed = visual.stem if hasattr(visual, "stem") else visual._embeds
    outputs = [embed(clip.preprocess(images))]
    for block in find_blocks(clip):
        outputs.append(block(outputs[-1]))
    return outputs[1:]


@pytest.mark.parametrize("pool_type", ["tok", "avg"])
def test_vit_gives_one_token_per_block(pool_type: str) -> None:
    clip = build_clip(replace(DEEP, vision={**DEEP.vision, "pool_type": pool_type}), "deep")
    encoder = ImageEncoder(clip, with_blocks=True)
    with torch.no_grad():
        features, *blocks = encoder.split(encoder(IMAGES))
        assert torch.equal(features, clip.encode_image(IMAGES))
        for row, tokens in zip(blocks, run_tower(clip, IMAGES), strict=True):
            assert torch.equal(row, tokens[:, 0] if pool_type == "tok" else tokens[:, 1:].mean(dim=1))
    assert len(blocks) == 3


def test_resnet_gives_the_mean_of_each_stage() -> None:
    clip = make_clip("rn")
    encoder = ImageEncoder(clip, with_blocks=True)
    with torch.no_grad():
        features, *blocks = encoder.split(encoder(IMAGES))
        assert torch.equal(features, clip.encode_image(IMAGES))
        for row, maps in zip(blocks, run_tower(clip, IMAGES), strict=True):
            assert torch.equal(row, maps.mean(dim=(2, 3)))
    assert [row.shape for row in blocks] == [(3, width) for width in (32, 64, 128, 256)]


def test_without_blocks_rows_are_the_features_and_no_hook_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip()
    monkeypatch.setattr(nn.Module, "register_forward_hook", lambda *_: pytest.fail("no defense asked for blocks"))
    encoder = ImageEncoder(clip, with_blocks=False)
    assert torch.equal(encoder(IMAGES), clip.encode_image(IMAGES))
    assert [part.shape for part in encoder.split(encoder(IMAGES))] == [(3, 32)]


@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_hooks_are_removed_after_an_error_too(kind: str) -> None:
    clip = make_clip(kind)
    encoder = ImageEncoder(clip, with_blocks=True)
    encoder(IMAGES)
    with pytest.raises(RuntimeError):
        encoder(IMAGES[:, :1].expand(3, 2, 32, 32))
    assert not any(block._forward_hooks for block in find_blocks(clip))


@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_blocks_are_float32_under_autocast_and_carry_gradients(kind: str) -> None:
    clip = make_clip(kind).to("cpu", "bf16")
    encoder = ImageEncoder(clip, with_blocks=True)
    _, *blocks = encoder.split(encoder(IMAGES))
    assert {row.dtype for row in blocks} == {torch.float32}
    blocks[0].sum().backward()
    assert clip.model.visual.conv1.weight.grad is not None


def test_a_timm_tower_has_no_blocks_that_we_know() -> None:
    vision = {"timm_model_name": "resnet18", "timm_pool": "avg", "timm_proj": "linear", "image_size": 32}
    assert find_blocks(build_clip(Architecture(32, vision, TINY_TEXT), "timm")) == []
