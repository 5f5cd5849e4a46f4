"""The engine gives what torch gives: same class, same feature, for both kinds of tower."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from cleaner.data.base import load_data
from cleaner.data.images import to_uint8
from cleaner.evaluation.encode import Encoder
from cleaner.models.clip import Clip, load_clip
from cleaner.playground import weights
from cleaner.runs.folders import shipped_root
from tests.conftest import OPENAI, make_clip
from tests.playground.node import run_node

RUNS = ("example-badnet", "example-badnet-1-cleanclip", "example-badnet-2-cleanclip_short")
RUNS += ("example-badnet-3-ta_cleaner",)
ENCODE = """
const pixels = fromBase64(value.pixels), size = 3 * value.spec.side ** 2, models = [];
let base = null;
for (const packed of value.weights) {
  const flat = decodeWeights(value.spec.layout, await inflate(packed), base);
  base ??= flat;
  models.push(buildModel(value.spec, value.mix ? mixWeights(base, flat, value.mix) : flat));
}
return models.map((model) => Array.from({ length: pixels.length / size }, (_, i) => {
  const feature = model.encode(pixels.subarray(i * size, (i + 1) * size));
  return { feature: Array.from(feature), ranks: Array.from(model.rank(feature)) };
}));"""


def perturb(clip: Clip, seed: int) -> Clip:
    """Return a copy whose image tower moved by a tenth of each tensor's RMS, in place of a finetuned model."""
    moved, generator = clip.copy(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in moved.model.get_submodule("visual").parameters():
            p.add_(0.1 * p.square().mean().sqrt() * torch.randn(p.shape, generator=generator))
    return moved


@cache
def load_models(kind: str) -> list[Clip]:
    """Return five models of a built-in tower; all of the ResNet, and one of the ViT, were trained."""
    if kind == "resnet":
        return [load_clip("scenes-lite"), *(load_clip(str(shipped_root() / run / "model.safetensors")) for run in RUNS)]
    base = load_clip("scenes-vit")
    return [base, *(perturb(base, seed) for seed in range(4))]


def encode_both(
    clips: Sequence[Clip], pixels: np.ndarray, classifiers: Sequence[Tensor], mix: float = 0.0
) -> list[tuple[Tensor, Tensor]]:
    """Return feature (N, D) and probabilities (N, C) of each model, as node computes them."""
    states = [weights.read_state(*pair) for pair in zip(clips, classifiers, strict=True)]
    spec = weights.describe_tower(clips[0], classifiers[0].shape[1]) | {"layout": weights.list_layout(states[0])}
    packed = [weights.pack_base(states[0]), *(weights.pack_delta(state, states[0]) for state in states[1:])]
    value = {"spec": spec, "weights": packed, "pixels": base64.b64encode(pixels.tobytes()).decode(), "mix": mix}
    rows = run_node(("pixels.js", "engine.js"), ENCODE, value)
    return [(torch.tensor([r["feature"] for r in m]), torch.tensor([r["ranks"] for r in m])) for m in rows]


def check_parity(kind: str, count: int) -> None:
    """Compare node with torch on the same 8-bit images, half of them with a bright patch."""
    data = load_data("scenes", split="test", size=2 * count)
    clips = load_models(kind)
    images = data.images(data.labeled_rows(count))
    images[::2, :, -8:, -8:] = 1.0
    pixels = to_uint8(images)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    classifiers = [Encoder(clip).build_classifier(data) for clip in clips]
    parts = [encode_both(clips, pixels[start : start + 64], classifiers) for start in range(0, count, 64)]
    for number, (clip, classifier) in enumerate(zip(clips, classifiers, strict=True)):
        feature, ranks = (torch.cat([part[number][i] for part in parts]) for i in range(2))
        with torch.inference_mode():
            expected = clip.encode_image(images)
        logits = clip.logit_scale.detach() * expected @ classifier
        assert (feature * expected).sum(1).min() > 0.9999
        assert torch.equal(ranks.argmax(1), logits.argmax(1))
        assert (ranks - logits.softmax(1)).abs().max() < 0.01


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_the_engine_sees_what_torch_sees(kind: str) -> None:
    check_parity(kind, 24)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_the_engine_sees_what_torch_sees_on_512_images(kind: str) -> None:
    check_parity(kind, 512)


@pytest.mark.parametrize("kind", ["rn", "vit"])
def test_other_sizes_depths_and_activations(kind: str) -> None:
    """Several blocks a stage, quick GELU, an odd number of classes, images of 32 px."""
    from cleaner.models.clip import build_clip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        deep = build_clip(OPENAI[kind], "deep")
    for clip in (deep, make_clip("rn" if kind == "rn" else "vit")):
        for module in clip.model.get_submodule("visual").modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # open_clip starts with blocks that change nothing
                torch.nn.init.normal_(module.weight, 1, 0.1, generator=torch.Generator().manual_seed(1))
                torch.nn.init.normal_(module.running_mean, 0, 0.1, generator=torch.Generator().manual_seed(2))
        images = torch.rand(3, 3, clip.image_size, clip.image_size, generator=torch.Generator().manual_seed(3))
        pixels = to_uint8(images)
        classifier = torch.nn.functional.normalize(torch.randn(clip.architecture.embed_dim, 5), dim=0)
        ((feature, _),) = encode_both([clip], pixels, [classifier])
        with torch.inference_mode():
            expected = clip.encode_image(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
        assert (feature * expected).sum(1).min() > 0.99999


def test_a_mix_is_the_model_with_mixed_weights() -> None:
    """Of the running statistics of BatchNorm too, and with class vectors of length 1."""
    clips = load_models("resnet")[:2]
    data = load_data("scenes", split="test", size=40)
    pixels = to_uint8(data.images(data.labeled_rows(8)))
    classifiers = [Encoder(clip).build_classifier(data) for clip in clips]
    mixed = clips[0].copy()
    own, other = mixed.model.state_dict(), clips[1].model.state_dict()
    mixed.model.load_state_dict({k: torch.lerp(v.float(), other[k].float(), 0.6).to(v) for k, v in own.items()})
    both = torch.nn.functional.normalize(torch.lerp(*classifiers, 0.6), dim=0)
    feature, ranks = encode_both(clips, pixels, classifiers, mix=0.6)[1]
    with torch.inference_mode():
        expected = mixed.encode_image(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
    assert (feature * expected).sum(1).min() > 0.9999
    scale = torch.lerp(clips[0].logit_scale.log(), clips[1].logit_scale.log(), 0.6).exp().detach()
    assert (ranks - (scale * expected @ both).softmax(1)).abs().max() < 0.01
