"""Explainers against what is known: naive rollout, completeness, and models that look at one place only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cleaner.evaluation.metrics import trigger_share
from cleaner.explain import EXPLAINERS
from cleaner.explain.base import clone_sharing_weights
from cleaner.explain.integrated_gradients import mask_words
from cleaner.explain.rollout import RecordingAttention, gradient_rollout, install_recording_attention, rollout
from cleaner.models.clip import Clip
from cleaner.types import CleanerError
from tests.conftest import make_clip

IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
REGION = torch.zeros(1, 1, 32, 32)
REGION[..., 16:24, 8:16] = 1
"""One 8 px cell of the tiny ViT: row 2, column 1, token 1 + 2 * 4 + 1."""
TOKEN = 10


def text(clip: Clip, caption: str = "a banana") -> Tensor:
    with torch.no_grad():
        return clip.encode_text([caption])[0]


def lively(kind: str) -> Clip:
    """Return a tiny model that reacts to its picture: a fresh ResNet's residual branches end in zeros."""
    clip = make_clip(kind)
    for module in clip.model.visual.modules():  # type: ignore[union-attr]
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(module.weight, 1.2)
            torch.nn.init.constant_(module.running_var, 0.5)
    return clip


def attention(layers: int, heads: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(2, 5, 5, generator=generator).softmax(-1) for _ in range(layers * heads)]


def test_rollout_is_the_naive_product() -> None:
    weights = attention(3)
    naive = np.eye(5)
    for a in weights:
        mixed = 0.5 * a[0].numpy() + 0.5 * np.eye(5)
        naive = (mixed / mixed.sum(1, keepdims=True)) @ naive
    np.testing.assert_allclose(rollout(weights)[0].numpy(), naive, rtol=1e-5)


def test_gradient_rollout_is_the_naive_recursion() -> None:
    weights = attention(3)
    naive = np.eye(5)
    for a in weights:
        naive = naive + a[1].numpy() @ naive
    np.testing.assert_allclose(gradient_rollout(weights)[1].numpy(), naive, rtol=1e-5)


def test_open_attention_equals_the_fused_one_and_its_weights_have_gradients() -> None:
    clip = make_clip("vit")
    twin = clone_sharing_weights(clip)
    blocks = install_recording_attention(twin.model.visual)
    wanted = clip.encode_image(IMAGES)
    found = twin.encode_image(IMAGES)
    assert torch.allclose(found, wanted, atol=1e-5)
    gradient = torch.autograd.grad((found @ text(clip)).sum(), [b.weights for b in blocks])
    assert all(g is not None and g.abs().max() > 0 for g in gradient)
    assert torch.allclose(blocks[0].weights.sum(-1), torch.ones(4, 2, 17), atol=1e-5)


def test_open_attention_with_a_mask_and_the_batch_second() -> None:
    fused = torch.nn.MultiheadAttention(8, 2, batch_first=False).eval()
    x = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.full((5, 5), -torch.inf).triu(1)
    wanted = fused(x, x, x, need_weights=False, attn_mask=mask)[0]
    assert torch.allclose(RecordingAttention(fused)(x, x, x, attn_mask=mask)[0], wanted, atol=1e-5)


@pytest.mark.parametrize("kind", ["vit", "rn"])
@pytest.mark.parametrize("baseline", ["blurred", "black"])
def test_integrated_gradients_of_a_picture_add_up(kind: str, baseline: str) -> None:
    clip = lively(kind)
    explainer = EXPLAINERS["integrated_gradients"](baseline=baseline, steps=128)
    target = text(clip)
    with torch.no_grad():
        gain = (clip.encode_image(IMAGES) - clip.encode_image(explainer.make_baseline(IMAGES))) @ target
    total = explainer.attribute(clip, IMAGES, target).sum(dim=(1, 2))
    assert gain.abs().max() > 0.01
    assert torch.allclose(total, gain, rtol=0.02, atol=2e-5), (total, gain)


def test_integrated_gradients_of_tokens_add_up() -> None:
    clip = make_clip()
    captions = ["a small yellow banana on the grass", "a red cup"]
    with torch.no_grad():
        target = clip.encode_image(IMAGES[:2])
        tokens = clip.tokenize(captions)
        gain = ((clip.encode_tokens(tokens) - clip.encode_tokens(mask_words(tokens))) * target).sum(-1)
    found = EXPLAINERS["token_gradients"](steps=128).attribute(clip, captions, target)
    assert torch.allclose(found.sum(-1), gain, atol=1e-3)
    assert found[1, 4:].abs().max() == 0  # start, three words, end: what stands after has no part in it
    assert found[:, 0].abs().max() == 0


def looking_at_one_cell(kind: str) -> Clip:
    """Return a model whose feature depends on REGION alone."""
    clip = lively(kind)
    visual: Any = clip.model.visual
    if kind == "rn":
        visual.register_forward_pre_hook(lambda _, args: (args[0] * REGION,))
        return clip
    fused = visual.transformer.resblocks[0].attn
    with torch.no_grad():
        # One channel marks the cell's token; queries ask for nothing else, so that every softmax points there.
        visual.positional_embedding[TOKEN, 0] += 5
        fused.in_proj_weight[:64] = 0
        fused.in_proj_bias[:64] = 0
        fused.in_proj_bias[:32:16] = 40  # first channel of each head's query
        fused.in_proj_weight[32:64:16, 0] = 10  # and of each head's key
    return clip


@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_the_crafted_model_looks_at_the_cell_alone(kind: str) -> None:
    clip = looking_at_one_cell(kind)
    with torch.no_grad():
        inside, outside = IMAGES * (1 - REGION), IMAGES * REGION
        features = [clip.encode_image(x) for x in (IMAGES, inside, outside)]
    assert torch.allclose(features[0], features[2], atol=1e-4)
    assert not torch.allclose(features[0], features[1], atol=1e-3)


@pytest.mark.parametrize("kind", ["vit", "rn"])
@pytest.mark.parametrize("name", [e for e in EXPLAINERS if EXPLAINERS[e].input_kind == "pictures"])
def test_attribution_falls_where_the_model_looks(name: str, kind: str) -> None:
    explainer = EXPLAINERS[name]()
    clip = looking_at_one_cell(kind)
    if explainer.unsupported_reason(clip):
        pytest.skip("not for this model")
    if explainer.grid_size(clip):
        if kind == "rn":  # by its feature maps: padding lets a convolution answer outside of what it sees
            explainer = EXPLAINERS[name](stage=1)
            cells = REGION[..., ::4, ::4]
            clip.model.visual.layer1.register_forward_hook(lambda _, args, out: out * cells)  # type: ignore[union-attr, operator]
        # Interpolation spreads half a cell into the neighbours.
        wider = torch.nn.functional.max_pool2d(REGION, 9, 1, 4)
    else:
        wider = REGION if name == "integrated_gradients" else torch.nn.functional.max_pool2d(REGION, 9, 1, 4)
    best = []
    for sign in (1, -1):  # what helps one target hinders its opposite
        found = explainer.attribute(clip, IMAGES[:1], sign * text(clip))
        found[found.abs() < 1e-5] = 0  # rounding
        share = trigger_share(found, wider)
        if share.isfinite():
            best.append(share.item())
    assert best
    assert min(best) > 0.95


def test_parameters_out_of_reach_are_refused() -> None:
    clip = make_clip("vit")
    with pytest.raises(CleanerError, match="layer must be at most 1"):
        EXPLAINERS["rollout"](layer=2).attribute(clip, IMAGES, text(clip))
    with pytest.raises(CleanerError, match="head must be at most 2"):
        EXPLAINERS["gradient_rollout"](head=3).attribute(clip, IMAGES, text(clip))


def test_layer_and_head_change_the_map() -> None:
    clip = make_clip("vit")
    maps = [EXPLAINERS["rollout"](head=h).attribute(clip, IMAGES, text(clip)) for h in (0, 1, 2)]
    assert not torch.allclose(maps[1], maps[2])
    assert torch.allclose(maps[0], (maps[1] + maps[2]) / 2, atol=1e-5)  # one layer: the mean of its heads


def test_token_texts_name_the_words() -> None:
    assert make_clip().token_texts("a red cup") == ["", "a</w>", "red</w>", "cup</w>", ""]
