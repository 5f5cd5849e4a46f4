"""Every image explainer finds the one cell that a constructed model depends on."""

from __future__ import annotations

import pytest
import torch

from cleaner.evaluation.metrics import trigger_share
from cleaner.explain import EXPLAINERS
from tests.explain.models import IMAGES, REGION, make_one_cell_clip, target_feature


@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_model_depends_on_the_cell_alone(kind: str) -> None:
    clip = make_one_cell_clip(kind)
    with torch.no_grad():
        full, without_cell, cell_only = (clip.encode_image(x) for x in (IMAGES, IMAGES * (1 - REGION), IMAGES * REGION))
    assert torch.allclose(full, cell_only, atol=1e-4)
    assert not torch.allclose(full, without_cell, atol=1e-3)


@pytest.mark.parametrize("kind", ["vit", "rn"])
@pytest.mark.parametrize("name", [e for e in EXPLAINERS if EXPLAINERS[e].input_kind == "images"])
def test_attribution_is_inside_the_cell(name: str, kind: str) -> None:
    explainer = EXPLAINERS[name]()
    clip = make_one_cell_clip(kind)
    if explainer.unsupported_reason(clip):
        pytest.skip("does not support this model")
    # Interpolation between cells and squares across the border spread half a cell into the neighbors.
    region = torch.nn.functional.max_pool2d(REGION, 9, 1, 4)
    if explainer.grid_size(clip) and kind == "rn":  # padding lets a convolution respond outside of its input
        explainer = EXPLAINERS[name](stage=1)
        cells = REGION[..., ::4, ::4]
        clip.model.visual.layer1.register_forward_hook(lambda _, args, out: out * cells)
    elif name == "integrated_gradients":
        region = REGION
    shares = []
    for sign in (1, -1):  # what raises the similarity to a target lowers that to its opposite
        attribution = explainer.attribute(clip, IMAGES[:1], sign * target_feature(clip))
        attribution[attribution.abs() < 1e-5] = 0  # rounding errors
        shares.append(trigger_share(attribution, region))
    measured = [share.item() for share in shares if share.isfinite()]
    assert measured
    assert min(measured) > 0.95
