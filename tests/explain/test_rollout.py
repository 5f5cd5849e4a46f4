"""rollout and gradient_rollout: equal to naive matrix products, on attention equal to torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from cleaner.explain import EXPLAINERS
from cleaner.explain.base import clone_sharing_weights
from cleaner.explain.rollout import RecordingAttention, gradient_rollout, install_recording_attention, rollout
from cleaner.types import CleanerError
from tests.conftest import make_clip
from tests.explain.models import IMAGES, target_feature


def make_attention(layers: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(2, 5, 5, generator=generator).softmax(-1) for _ in range(layers)]


def test_rollout_equals_the_naive_product() -> None:
    layers = make_attention(3)
    naive = np.eye(5)
    for weights in layers:
        mixed = 0.5 * weights[0].numpy() + 0.5 * np.eye(5)
        naive = (mixed / mixed.sum(1, keepdims=True)) @ naive
    np.testing.assert_allclose(rollout(layers)[0].numpy(), naive, rtol=1e-5)


def test_gradient_rollout_equals_the_naive_recursion() -> None:
    layers = make_attention(3)
    naive = np.eye(5)
    for weights in layers:
        naive = naive + weights[1].numpy() @ naive
    np.testing.assert_allclose(gradient_rollout(layers)[1].numpy(), naive, rtol=1e-5)


def test_gradient_rollout_of_averaged_patches_is_not_uniform() -> None:
    clip = make_clip("vit")
    clip.model.visual.pool_type = "avg"
    (heat, *_) = EXPLAINERS["gradient_rollout"]().attribute(clip, IMAGES, target_feature(clip))
    assert 0 <= heat.min() < 0.5 * heat.max()


def test_recording_attention_equals_the_fused_one_and_its_weights_have_gradients() -> None:
    clip = make_clip("vit")
    copy = clone_sharing_weights(clip)
    blocks = install_recording_attention(copy.model.visual)
    features = copy.encode_image(IMAGES.clone().requires_grad_())
    assert torch.allclose(features, clip.encode_image(IMAGES), atol=1e-5)
    gradients = torch.autograd.grad((features @ target_feature(clip)).sum(), [b.weights for b in blocks])
    assert all(g is not None and g.abs().max() > 0 for g in gradients)
    assert torch.allclose(blocks[0].weights.sum(-1), torch.ones(4, 2, 17), atol=1e-5)


def test_recording_attention_with_a_mask_and_batch_second() -> None:
    fused = torch.nn.MultiheadAttention(8, 2, batch_first=False).eval()
    x = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.full((5, 5), -torch.inf).triu(1)
    expected = fused(x, x, x, need_weights=False, attn_mask=mask)[0]
    assert torch.allclose(RecordingAttention(fused)(x, x, x, attn_mask=mask)[0], expected, atol=1e-5)


def test_layer_and_head_above_the_model_are_refused() -> None:
    clip = make_clip("vit")
    with pytest.raises(CleanerError, match="layer must be at most 1"):
        EXPLAINERS["rollout"](layer=2).attribute(clip, IMAGES, target_feature(clip))
    with pytest.raises(CleanerError, match="head must be at most 2"):
        EXPLAINERS["gradient_rollout"](head=3).attribute(clip, IMAGES, target_feature(clip))


def test_head_0_is_the_mean_over_heads() -> None:
    clip = make_clip("vit")
    maps = [EXPLAINERS["rollout"](head=head).attribute(clip, IMAGES, target_feature(clip)) for head in (0, 1, 2)]
    assert not torch.allclose(maps[1], maps[2])
    assert torch.allclose(maps[0], (maps[1] + maps[2]) / 2, atol=1e-5)  # one layer: rollout is linear in its weights
