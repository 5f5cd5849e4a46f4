"""tbar: learns the found trigger, and subtracts what that changed."""

from __future__ import annotations

import json

import pytest
import torch

from cleaner.attacks import TRIGGERS
from cleaner.config import FinetuneConfig
from cleaner.data.base import TensorData
from cleaner.data.images import encode_png
from cleaner.defenses import DEFENSES
from cleaner.models.clip import Clip
from cleaner.training.loop import finetune
from cleaner.types import CleanerError
from tests.attacks.test_inverted import make_layers

CONFIG = FinetuneConfig(lr=1e-3, epochs=2, batch_size=8, device="cpu", precision="fp32")


@torch.no_grad()
def target_share(clip: Clip, data: TensorData, target: str) -> float:
    """Return the mean probability of the target on triggered images."""
    triggered = TRIGGERS["badnet"]()(data.images(range(len(data))))
    texts = clip.encode_text([f"a photo of a {name}" for name in data.class_names])
    logits = clip.logit_scale * clip.encode_image(triggered) @ texts.T
    return float(logits.softmax(1)[:, data.class_names.index(target)].mean())


def test_the_model_moves_away_from_what_the_trigger_teaches(tiny_clip: Clip, toy_data: TensorData) -> None:
    known = TRIGGERS["badnet"]().state_dict()
    target = toy_data.class_names[1]
    defense = {"known": json.dumps(known), "target_class": target}
    before = target_share(tiny_clip, toy_data, target)
    learned, cleaned = (
        finetune(tiny_clip, toy_data, DEFENSES["tbar"](alpha=alpha, **defense), CONFIG).clip for alpha in (0.0, 1.0)
    )
    assert learned.sha256() == tiny_clip.sha256(), "nothing is subtracted"
    assert target_share(cleaned, toy_data, target) < before
    names = {name for name, weight in cleaned.model.named_parameters() if weight.requires_grad}
    assert names == {name for name, _ in tiny_clip.model.named_parameters()}, "the result can be trained again"
    after = dict(cleaned.model.named_parameters())
    for name, weight in tiny_clip.model.named_parameters():
        assert name.startswith("visual.") or torch.equal(weight, after[name])


def test_it_says_what_is_missing(tiny_clip: Clip, toy_data: TensorData) -> None:
    png = encode_png(make_layers())
    with pytest.raises(CleanerError, match="target_class"):
        finetune(tiny_clip, toy_data, DEFENSES["tbar"](png=png), CONFIG)
    with pytest.raises(CleanerError, match="tbar needs an inverted trigger"):
        finetune(tiny_clip, toy_data, DEFENSES["tbar"](target_class=toy_data.class_names[0]), CONFIG)
