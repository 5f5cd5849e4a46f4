"""saliency: the gradient predicts the change of the similarity."""

import pytest
import torch

from cleaner.explain import EXPLAINERS
from tests.explain.models import IMAGES, make_responsive_clip, target_feature


def test_predicts_the_change_of_a_brighter_pixel() -> None:
    clip = make_responsive_clip("vit")
    target = target_feature(clip)
    brighter = IMAGES[:1].clone()
    brighter[..., 20, 12] += 0.01
    with torch.no_grad():
        change = ((clip.encode_image(brighter) - clip.encode_image(IMAGES[:1])) @ target).item()
    attribution = EXPLAINERS["saliency"]().attribute(clip, IMAGES[:1], target)
    assert attribution[0, 20, 12].item() == pytest.approx(change / 0.01, rel=0.05)
