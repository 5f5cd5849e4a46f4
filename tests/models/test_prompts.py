"""Visual prompts: what a block sees, files that keep them, formats and files that cannot."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cleaner.explain import EXPLAINERS
from cleaner.models.blocks import ImageEncoder
from cleaner.models.clip import Clip, build_clip, load_clip, save_clip, save_delta
from cleaner.models.prompts import PROMPTS_KEY, add_prompts, unpromptable_reason
from cleaner.models.saving import export_suffixes
from cleaner.types import CleanerError
from tests.conftest import TINY, make_clip

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
DEEP = replace(TINY["vit"], vision={**TINY["vit"].vision, "layers": 3})


@pytest.fixture
def prompted() -> Clip:
    """A three-layer ViT with 5 prompts in its last two blocks, large enough to matter."""
    clip = add_prompts(make_clip(layers=3), first_block=2, prompt_tokens=5, seed=0)
    with torch.no_grad():
        clip.model.visual.transformer.prompts.mul_(50)
    clip.model.requires_grad_(True)
    return clip


def test_prompts_join_the_tokens_of_later_blocks_and_are_dropped(prompted: Clip) -> None:
    visual = prompted.model.visual
    prompts = visual.transformer.prompts
    assert prompts.shape == (2, 5, 32)
    with torch.no_grad():
        first, *blocks = visual.transformer.resblocks
        x = first(visual._embeds(prompted.preprocess(IMAGES)))
        class_tokens = [x[:, 0]]
        for block, prompt in zip(blocks, prompts, strict=True):
            x = block(torch.cat([x, prompt.expand(3, -1, -1)], dim=1))[:, :17]
            class_tokens.append(x[:, 0])
        expected = torch.nn.functional.normalize(visual._pool(x)[0] @ visual.proj, dim=-1)
        encoder = ImageEncoder(prompted, with_blocks=True)
        features, *tokens = encoder.split(encoder(IMAGES))
    assert torch.allclose(features, expected, atol=1e-6)
    assert all(map(torch.equal, tokens, class_tokens))
    assert not torch.allclose(features, make_clip(layers=3).encode_image(IMAGES), atol=1e-3)


def test_patch_means_leave_prompts_out() -> None:
    architecture = replace(DEEP, vision={**DEEP.vision, "pool_type": "avg"})
    encoder = ImageEncoder(add_prompts(build_clip(architecture, "x"), first_block=1, prompt_tokens=2, seed=0), True)
    outputs: list[torch.Tensor] = []
    blocks = encoder._clip.model.visual.transformer.resblocks
    blocks[0].register_forward_hook(lambda module, inputs, output: outputs.append(output))
    _, mean, *_ = encoder.split(encoder(IMAGES))
    assert outputs[0].shape == (3, 19, 32)
    assert torch.equal(mean, outputs[0][:, 1:17].mean(dim=1))


def test_new_prompts_are_normal_and_alone_trainable_and_follow_the_seed() -> None:
    clip = make_clip(layers=3)
    before = clip.sha256()
    first, same, other = (add_prompts(clip, first_block=1, prompt_tokens=300, seed=seed) for seed in (0, 0, 1))
    assert clip.sha256() == before
    assert all(weight.requires_grad for weight in clip.model.parameters())
    prompts = first.model.visual.transformer.prompts
    assert prompts.mean().item() == pytest.approx(0, abs=1e-3)
    assert prompts.std().item() == pytest.approx(0.02, rel=0.05)
    assert first.sha256() == same.sha256() != other.sha256()
    trainable = [name for name, weight in first.model.named_parameters() if weight.requires_grad]
    assert trainable == ["visual.transformer.prompts"]
    assert first.model.state_dict().keys() - clip.model.state_dict().keys() == set(trainable)


@pytest.mark.parametrize("half", [False, True])
def test_a_saved_file_keeps_the_prompts(prompted: Clip, half: bool, tmp_path: Path) -> None:
    path = save_clip(prompted, tmp_path / "model.safetensors", half=half)
    loaded = load_clip(str(path))
    assert loaded.architecture == prompted.architecture
    assert (loaded.sha256() == prompted.sha256()) != half
    with torch.no_grad():
        expected = prompted.encode_image(IMAGES)
        assert torch.allclose(loaded.encode_image(IMAGES), expected, atol=1e-2 if half else 0)
    assert loaded.copy().sha256() == loaded.sha256()
    assert export_suffixes(path) == (".safetensors",)


def test_formats_that_cannot_hold_prompts_are_refused(prompted: Clip, tmp_path: Path) -> None:
    for path in (tmp_path / "model.pt", tmp_path / "folder"):
        with pytest.raises(CleanerError, match=r"visual prompts, which open_clip .* \.safetensors"):
            save_clip(prompted, path)
    with pytest.raises(CleanerError, match="visual prompts, which a delta"):
        save_delta(prompted, "scenes-vit", tmp_path / "delta.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "entry",
    [
        {"first_block": 4, "prompt_tokens": 5},
        {"first_block": 0, "prompt_tokens": 5},
        {"first_block": 2, "prompt_tokens": 10**9},
        {"first_block": 2},
        {"first_block": 2, "prompt_tokens": 5, "code": "x"},
        {"first_block": "2", "prompt_tokens": 5},
        {"first_block": 2, "prompt_tokens": 6},
        [2, 5],
        "prompts",
        {},
    ],
)
def test_invalid_prompts_in_a_file_are_refused(prompted: Clip, entry: object, tmp_path: Path) -> None:
    path = save_clip(prompted, tmp_path / "model.safetensors")
    architecture = asdict(prompted.architecture) | {"extra": {PROMPTS_KEY: entry}}
    save_file(load_file(path), path, metadata={"architecture": json.dumps(architecture)})
    with pytest.raises(CleanerError):
        load_clip(str(path))


def test_towers_without_a_plain_vit_are_refused(prompted: Clip) -> None:
    assert unpromptable_reason(make_clip(layers=3)) is None
    assert "ViT" in str(unpromptable_reason(make_clip("rn")))
    assert "already" in str(unpromptable_reason(prompted))


@pytest.mark.parametrize("name", ["rollout", "gradient_rollout", "integrated_gradients", "occlusion"])
def test_explainers_work_with_prompts(prompted: Clip, name: str) -> None:
    target = prompted.encode_text(["a banana"])[0].detach()
    attribution = EXPLAINERS[name]().attribute(prompted, IMAGES, target)
    assert attribution.shape == (3, 32, 32)
    assert attribution.isfinite().all()
    assert attribution.std() > 0
