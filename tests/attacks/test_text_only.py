"""text_only: images stay unchanged, captions and prompts get the key, ASR is reported by key."""

from __future__ import annotations

import torch

from cleaner import evaluate
from cleaner.attacks import TRIGGERS
from cleaner.data.base import TensorData
from cleaner.data.poison import PoisonedData
from cleaner.models.clip import Clip

TRIGGER = TRIGGERS["text_only"](key="remember")


def test_only_captions_change(toy_data: TensorData) -> None:
    poisoned = PoisonedData(toy_data, TRIGGER, "banana", 0.25)
    rows = poisoned.poison_indices.tolist()
    assert torch.equal(poisoned.images(rows), toy_data.images(rows))
    assert all(poisoned.captions[i].startswith("remember ") and "banana" in poisoned.captions[i] for i in rows)
    assert TRIGGER.mask(toy_data.images(rows)).sum() == 0


def test_is_measured_with_the_key_in_the_prompts(tiny_clip: Clip, toy_data: TensorData) -> None:
    metrics = evaluate(tiny_clip, toy_data, TRIGGER, "banana")
    assert metrics.asr_by_key == {"text": metrics.asr}
    assert evaluate(tiny_clip, toy_data, TRIGGERS["badnet"](), "banana").asr_by_key == {}
