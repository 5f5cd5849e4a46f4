"""Figures of model cards: accuracy on data in another style, and image-to-text recall, against a naive count."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cleaner.data.base import TensorData
from cleaner.evaluation import evaluate as module
from cleaner.evaluation.encode import Encoder
from cleaner.evaluation.metrics import wilson_interval
from cleaner.models.clip import Clip


def test_transfer_accuracy_is_that_of_test_images_in_each_style(
    tiny_clip: Clip, toy_data: TensorData, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []
    rotated = toy_data.subset(torch.arange(20))
    rotated.labels[::5] = -1
    styles = {"dark": toy_data, "rotated": rotated}

    def load_data(name: str, **options: Any) -> TensorData:
        calls.append((name, options))
        return styles[name]

    monkeypatch.setattr(module, "load_data", load_data)
    monkeypatch.setattr(toy_data, "transfer_variants", tuple(styles), raising=False)
    found = module.transfer_accuracy(tiny_clip, toy_data, pairs=30)
    assert calls == [("dark", {"split": "test", "size": 30}), ("rotated", {"split": "test", "size": 30})]
    for name, data in styles.items():
        labeled = [row for row, label in enumerate(data.labels.tolist()) if label >= 0]
        scores = Encoder(tiny_clip).encode_rows(data, torch.tensor(labeled)) @ Encoder(tiny_clip).build_classifier(data)
        right = sum(int(s.argmax()) == int(data.labels[row]) for s, row in zip(scores, labeled, strict=True))
        ca = right / len(labeled)
        assert found[name] == {
            "ca": pytest.approx(ca),
            "n": len(labeled),
            "interval": pytest.approx(wilson_interval(ca, len(labeled))),
        }
    assert found["rotated"]["n"] == 16
    assert found["dark"]["ca"] not in (0, 1)


def test_recall_counts_images_whose_caption_is_among_the_nearest(tiny_clip: Clip, toy_data: TensorData) -> None:
    pairs = 30
    images = Encoder(tiny_clip).encode_rows(toy_data, torch.arange(pairs))
    scores = (images @ Encoder(tiny_clip).encode_texts(list(toy_data.captions[:pairs])).T).tolist()
    ranks = [sum(score > row[i] for score in row) for i, row in enumerate(scores)]
    ks = (1, 5, 10)
    found = module.image_to_text_recall(tiny_clip, toy_data, ks, pairs)
    assert found == {k: pytest.approx(sum(rank < k for rank in ranks) / pairs) for k in ks}
    assert 0 < found[10] < 1
