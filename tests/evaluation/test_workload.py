"""What an evaluation is predicted to encode is what it encodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cleaner import evaluate
from cleaner.attacks import TRIGGERS
from cleaner.data.base import TensorData
from cleaner.evaluation import workload
from cleaner.evaluation.encode import Encoder
from cleaner.evaluation.workload import EvaluationCount, predict_evaluation
from cleaner.models import clip as clip_module
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
    evaluate(tiny_clip, toy_data, trigger, "banana", clean_clip=make_clip(seed=1), counterfactual=False)
    count = EvaluationCount.of(tiny_clip, toy_data, trigger, models=2, counterfactual=False)
    # Input-aware: the images of the target, 12 of 48, are not tried with another's trigger.
    assert seen.images == count.images - (12 if name == "input_aware" else 0)
    assert seen.texts == count.prompts + count.captions


@pytest.mark.parametrize("name", ["badnet", "trojvqa", "text_only"])
def test_what_is_stored_is_predicted_to_take_no_time(
    name: str, tiny_clip: Clip, toy_data: TensorData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path))
    monkeypatch.setattr(clip_module, "FULL_SIZE_PARAMETERS", 1)
    monkeypatch.setattr(workload, "time_encoding", lambda *_: (1.0, 1.0, 1.0))
    options: dict[str, Any] = {"steps": 1} if name == "trojvqa" else {}
    trigger = TRIGGERS[name](**options).prepare(tiny_clip, toy_data, "banana")
    clean = make_clip(seed=1)

    def predict() -> float:
        return predict_evaluation(tiny_clip, toy_data, trigger, clean_clip=clean)

    count = EvaluationCount.of(tiny_clip, toy_data, trigger, models=2)
    assert predict() == count.images + count.prompts + count.captions
    evaluate(tiny_clip, toy_data)
    assert count.images > 0
    assert 0 < predict() < count.images + count.prompts + count.captions
    evaluate(tiny_clip, toy_data, trigger, "banana", clean_clip=clean)
    assert predict() == 0


@pytest.mark.parametrize(("full_size", "tower"), [(1, "encode_text_trees"), (10**12, "encode_text")])
def test_texts_are_timed_as_an_evaluation_encodes_them(
    full_size: int, tower: str, tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_module, "FULL_SIZE_PARAMETERS", full_size)
    calls: list[list[str]] = []
    encode = getattr(Clip, tower)
    other = {"encode_text", "encode_text_trees"} - {tower}
    monkeypatch.setattr(Clip, tower, lambda clip, texts: calls.append(texts) or encode(clip, texts))
    for name in other:
        monkeypatch.setattr(Clip, name, lambda clip, texts: pytest.fail("the other way to encode texts"))
    prompts = workload.time_encoding(tiny_clip, toy_data, 8, 10, 20)
    assert len(prompts) == 3
    assert min(prompts) > 0
    templates, names = Encoder(tiny_clip).choose_templates(toy_data), toy_data.class_names
    assert calls[0] == [template.format(name) for template in templates[:3] for name in names]
    assert calls[1] == toy_data.captions[:20]


def test_equal_captions_count_once(tiny_clip: Clip, toy_data: TensorData) -> None:
    toy_data.captions = ["a red cat on a table", "a blue dog on a chair"] * (len(toy_data) // 2)
    captions = EvaluationCount.of(tiny_clip, toy_data, None).captions
    assert 2 < captions <= 2 * 4
