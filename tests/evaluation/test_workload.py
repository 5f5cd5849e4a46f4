"""What an evaluation is predicted to encode is what it encodes."""

from __future__ import annotations

from typing import Any

import pytest

from cleaner import evaluate
from cleaner.attacks import TRIGGERS
from cleaner.data.base import TensorData
from cleaner.evaluation import workload
from cleaner.evaluation.workload import EvaluationCount
from cleaner.models.clip import Clip
from tests.conftest import make_clip
from tests.evaluation.test_feature_store import Counter


@pytest.mark.parametrize("name", ["badnet", "trojvqa", "text_only", "input_aware"])
def test_images_and_texts_are_counted(
    name: str, tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_data.captions = [f"{caption} {i}" for i, caption in enumerate(toy_data.captions)]  # all are encoded
    options: dict[str, Any] = {"steps": 1} if name in ("trojvqa", "input_aware") else {}
    trigger = TRIGGERS[name](**options).prepare(tiny_clip, toy_data, "banana")
    seen = Counter(monkeypatch)
    monkeypatch.setattr(workload, "COUNTERFACTUAL_PAIRS", 0)
    evaluate(tiny_clip, toy_data, trigger, "banana", clean_clip=make_clip(seed=1), counterfactual=False)
    count = EvaluationCount.of(tiny_clip, toy_data, trigger, models=2)
    # Input-aware: the images of the target, 12 of 48, are not tried with another's trigger.
    assert seen.images == count.images - (12 if name == "input_aware" else 0)
    assert seen.texts == count.prompts + count.captions
