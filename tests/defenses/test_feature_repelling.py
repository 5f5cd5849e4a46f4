"""feature_repelling: CLIP's loss plus the mean cosine to the backdoored model's later blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cleaner.config import FinetuneConfig
from cleaner.data.base import TensorData
from cleaner.defenses import DEFENSES
from cleaner.losses import Features, clip_loss, feature_repelling_loss
from cleaner.models.architectures import Architecture
from cleaner.models.clip import Clip, build_clip
from cleaner.training.loop import finetune
from cleaner.types import CleanerError
from tests.conftest import TINY_TEXT, make_clip
from tests.defenses import features

CONFIG = FinetuneConfig(lr=3e-3, epochs=3, batch_size=16, warmup_steps=2, precision="fp32", device="cpu")
WIDTHS = (7, 7, 9, 11)


def make_features(seed: int) -> Features:
    """Return features in float64 with the outputs of four blocks, whose widths differ as in a ResNet."""
    draw = torch.Generator().manual_seed(seed)
    blocks = tuple(3 * torch.randn(5, width, generator=draw, dtype=torch.float64) for width in WIDTHS)
    return replace(features.make_features(), blocks=blocks)


def naive_repelling(f: Features, reference: Features, first: int) -> float:
    """Return FR in plain numpy, one image of one block after the other."""
    cosines = []
    for now, before in list(zip(f.blocks, reference.blocks, strict=True))[first:]:
        for c, sigma in zip(now.numpy(), before.numpy(), strict=True):
            cosines.append(np.sum(c * sigma) / (np.sqrt(np.sum(c**2)) * np.sqrt(np.sum(sigma**2))))
    return float(np.mean(cosines))


@pytest.mark.parametrize(("skip_share", "first"), [(0.0, 0), (0.24, 0), (0.25, 1), (0.5, 2), (0.95, 3)])
def test_loss_equals_naive(skip_share: float, first: int) -> None:
    f, reference = make_features(1), make_features(2)
    expected = naive_repelling(f, reference, first)
    assert abs(expected) > 1e-3
    assert feature_repelling_loss(f, reference, skip_share).item() == pytest.approx(expected, abs=1e-9)


def test_skipped_blocks_are_rounded_down() -> None:
    """Only the first block that counts agrees with the reference: FR is 1 / (number of blocks that count)."""
    same, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    for percent in range(0, 100, 5):
        for count in (1, 4, 6, 12, 20, 24):
            skipped = percent * count // 100
            blocks = (other,) * skipped + (same,) + (other,) * (count - skipped - 1)
            f = replace(features.make_features(), blocks=blocks)
            repelling = feature_repelling_loss(f, replace(f, blocks=(same,) * count), percent / 100)
            assert repelling.item() == pytest.approx(1 / (count - skipped)), (percent, count)


def test_gradient_reaches_the_trained_model_alone() -> None:
    f, reference = make_features(1), make_features(2)
    for rows in (*f.blocks, *reference.blocks):
        rows.requires_grad_()
    feature_repelling_loss(f, reference, 0.25).backward()
    assert [rows.grad is not None for rows in f.blocks] == [False, True, True, True]
    assert all(rows.grad is None for rows in reference.blocks)


def test_losses_are_named_and_weighted() -> None:
    f = replace(make_features(1), reference=make_features(2))
    losses = DEFENSES["feature_repelling"](repelling_weight=3.0, skip_share=0.5).losses(f)
    assert f.reference is not None
    assert losses == {"clip_loss": clip_loss(f), "repelling_loss": 3 * feature_repelling_loss(f, f.reference, 0.5)}


def test_reference_and_blocks_are_required() -> None:
    defense = DEFENSES["feature_repelling"]()
    with pytest.raises(ValueError, match="reference"):
        defense.losses(make_features(1))
    with pytest.raises(ValueError, match="blocks"):
        defense.losses(replace(features.make_features(), reference=features.make_features()))


@pytest.mark.parametrize("kind", ["vit", "rn"])
@pytest.mark.parametrize("chunk_size", [0, 5])
def test_repelling_falls_and_clip_loss_stays_finite(kind: str, chunk_size: int, toy_data: TensorData) -> None:
    clip = make_clip(kind, layers=4 if kind == "vit" else None)
    config = replace(CONFIG, chunk_size=chunk_size, freeze_bn=True)
    history = finetune(clip, toy_data, DEFENSES["feature_repelling"](), config).history
    repelling = [report.losses["repelling_loss"] / 2 for report in history]
    assert repelling[0] == pytest.approx(1, abs=1e-6)  # both models are still the same
    assert all(-1 <= value <= 1 for value in repelling)
    assert repelling[-1] < 0.8
    assert all(np.isfinite(report.losses["clip_loss"]) for report in history)


def test_weight_zero_is_plain_finetuning(tiny_clip: Clip, toy_data: TensorData) -> None:
    config = replace(CONFIG, epochs=1)
    repelled = finetune(tiny_clip, toy_data, DEFENSES["feature_repelling"](repelling_weight=0.0), config)
    plain = finetune(tiny_clip, toy_data, DEFENSES["finetune"](), config)
    for ours, theirs in zip(repelled.history, plain.history, strict=True):
        assert ours.losses["clip_loss"] == pytest.approx(theirs.losses["clip_loss"], abs=1e-6)


def test_a_tower_without_known_blocks_is_refused(toy_data: TensorData) -> None:
    vision = {"timm_model_name": "resnet18", "timm_pool": "avg", "timm_proj": "linear", "image_size": 32}
    clip = build_clip(Architecture(32, vision, TINY_TEXT), "timm-model")
    with pytest.raises(CleanerError, match=r"feature_repelling .* timm-model has another image tower"):
        finetune(clip, toy_data, DEFENSES["feature_repelling"](), CONFIG)
    assert DEFENSES["finetune"]().unsupported_reason(clip, toy_data) is None
    assert DEFENSES["feature_repelling"]().unsupported_reason(make_clip("rn"), toy_data) is None
