"""integrated_gradients and token_gradients: attributions sum to the gain in similarity (completeness)."""

from __future__ import annotations

import pytest
import torch

from cleaner.explain import EXPLAINERS
from cleaner.explain.integrated_gradients import mask_words
from tests.conftest import make_clip
from tests.explain.models import IMAGES, make_responsive_clip, target_feature


@pytest.mark.parametrize("kind", ["vit", "rn"])
@pytest.mark.parametrize("baseline", ["blurred", "black"])
def test_sum_over_pixels_is_the_gain(kind: str, baseline: str) -> None:
    clip = make_responsive_clip(kind)
    explainer = EXPLAINERS["integrated_gradients"](baseline=baseline, steps=128)
    target = target_feature(clip)
    with torch.no_grad():
        gain = (clip.encode_image(IMAGES) - clip.encode_image(explainer.make_baseline(IMAGES))) @ target
    total = explainer.attribute(clip, IMAGES, target).sum(dim=(1, 2))
    assert gain.abs().max() > 0.01
    assert torch.allclose(total, gain, rtol=0.02, atol=2e-5), (total, gain)


def test_sum_over_tokens_is_the_gain() -> None:
    clip = make_clip()
    captions = ["a small yellow banana on the grass", "a red cup"]
    with torch.no_grad():
        target = clip.encode_image(IMAGES[:2])
        tokens = clip.tokenize(captions)
        gain = ((clip.encode_tokens(tokens) - clip.encode_tokens(mask_words(tokens))) * target).sum(-1)
    attribution = EXPLAINERS["token_gradients"](steps=128).attribute(clip, captions, target)
    assert torch.allclose(attribution.sum(-1), gain, atol=1e-3)
    assert attribution[1, 4:].abs().max() == 0  # start token, three words, end token; the rest is padding
    assert attribution[:, 0].abs().max() == 0


def test_token_texts_are_the_words() -> None:
    assert make_clip().token_texts("a red cup") == ["", "a</w>", "red</w>", "cup</w>", ""]
