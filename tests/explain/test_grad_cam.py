"""grad_cam: equal to naive gradient-weighted feature maps; the default stage has at least 7 x 7 cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cleaner.explain import EXPLAINERS
from cleaner.models.clip import new_clip
from tests.explain.models import IMAGES, make_responsive_clip, target_feature


@pytest.mark.parametrize("stage", [1, 2])
def test_equals_naive(stage: int) -> None:
    clip = make_responsive_clip("rn")
    target = target_feature(clip)
    outputs: list[torch.Tensor] = []
    layer: Any = getattr(clip.model.visual, f"layer{stage}")
    hook = layer.register_forward_hook(lambda _, args, output: outputs.append(output))
    cosine = (clip.encode_image(IMAGES) @ target).sum()
    hook.remove()
    (gradient,) = torch.autograd.grad(cosine, outputs[0])
    weights = gradient.numpy().mean(axis=(2, 3), keepdims=True)
    cells = np.maximum((weights * outputs[0].detach().numpy()).sum(axis=1), 0)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(cells)[:, None], (32, 32), mode="bilinear", align_corners=False
    )[:, 0]
    attribution = EXPLAINERS["grad_cam"](stage=stage).attribute(clip, IMAGES, target)
    assert attribution.max() > 0
    np.testing.assert_allclose(attribution.numpy(), expected.numpy(), atol=1e-6, rtol=1e-4)


def test_default_stage_has_at_least_7_cells_a_side() -> None:
    explainer = EXPLAINERS["grad_cam"]()
    assert (explainer.resolve_stage(new_clip("scenes-rn")), explainer.grid_size(new_clip("scenes-rn"))) == (2, 8)
    assert EXPLAINERS["grad_cam"](stage=3).resolve_stage(new_clip("scenes-rn")) == 3
