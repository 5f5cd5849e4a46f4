"""The uses of a model beside the zero-shot ones: who is retrieved, and what a linear probe says."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cleaner.attacks.base import TRIGGERS
from cleaner.audit.uses import IMAGE_RETRIEVAL, LINEAR_PROBE, measure_image_uses, probe, share_retrieved
from cleaner.data.base import load_data
from cleaner.models.clip import Clip


def test_share_retrieved_counts_the_nearest() -> None:
    text = torch.tensor([1.0, 0.0])
    angles = torch.tensor([0.1, 0.2, 0.9, 1.0, 1.1])
    images, others = (torch.stack([a.cos(), a.sin()], dim=1) for a in (angles[[0, 2]], angles[[1, 3, 4]]))
    assert share_retrieved(text, images, others, k=2) == 0.5
    assert share_retrieved(text, images, others, k=3) == 1.0
    assert share_retrieved(text, images, others, k=9) == 1.0
    assert share_retrieved(-text, images, others, k=2) == 0.0


def test_a_probe_follows_the_features_that_a_trigger_moves() -> None:
    centers = F.normalize(torch.eye(8)[:3], dim=1)
    noise = torch.randn(60, 8, generator=torch.Generator().manual_seed(0)) / 20
    labels = torch.arange(60) % 3
    features = F.normalize(centers[labels] + noise, dim=1)
    clean = features[labels != 2]
    assert probe(features, labels, (centers[2].expand(5, 8), clean), 2) == (1.0, 0.0)
    assert probe(features, labels, (clean, clean), 7) is None
    assert probe(features[labels == 1], labels[labels == 1], (clean, clean), 1) is None


@pytest.mark.usefixtures("scene_cache")
def test_uses_are_measured_on_a_model(tiny_clip: Clip) -> None:
    data = load_data("scenes", split="test", size=60)
    name = data.class_names[int(data.labels[data.labeled_rows()[0]])]
    uses = measure_image_uses(tiny_clip, data, TRIGGERS["badnet"](), name)
    for shares in uses.values():
        assert shares is not None
        assert all(0 <= share <= 1 for share in shares)
    few = data.subset(data.labeled_rows(5).tolist())
    assert measure_image_uses(tiny_clip, few, TRIGGERS["badnet"](), name) == {IMAGE_RETRIEVAL: None, LINEAR_PROBE: None}
