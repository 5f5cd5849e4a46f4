"""occlusion: equal to naive covering of squares with the image's mean color."""

from __future__ import annotations

import numpy as np
import torch

from cleaner.explain import EXPLAINERS
from tests.explain.models import IMAGES, make_responsive_clip, target_feature


def test_equals_naive() -> None:
    clip = make_responsive_clip("vit")
    target = target_feature(clip)
    images = IMAGES[:2]
    with torch.no_grad():
        cosines = clip.encode_image(images) @ target
        expected = np.zeros((2, 32, 32))
        for top in range(0, 32, 8):  # 56 px on a 224 px image are 8 px here
            for left in range(0, 32, 8):
                covered = images.clone()
                covered[:, :, top : top + 8, left : left + 8] = images.mean(dim=(2, 3), keepdim=True)
                drop = cosines - clip.encode_image(covered) @ target
                expected[:, top : top + 8, left : left + 8] = drop.numpy()[:, None, None]
    attribution = EXPLAINERS["occlusion"](square=56, step=56).attribute(clip, images, target)
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(attribution.numpy(), expected, atol=1e-5)


def test_step_never_exceeds_the_square() -> None:
    clip = make_responsive_clip("vit")
    target = target_feature(clip)
    maps = [EXPLAINERS["occlusion"](square=28, step=step).attribute(clip, IMAGES, target) for step in (28, 112)]
    assert torch.equal(maps[0], maps[1])
