"""Metrics on hand-made features with known results."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binomtest
from torch.nn import functional as F

from cleaner.evaluation.metrics import (
    alignment,
    attack_success_rate,
    feature_shift,
    in_top_k,
    map_similarity,
    modality_gap,
    recall_of_any,
    recall_of_item,
    retrieval_recall,
    silhouette,
    top_k_accuracy,
    trigger_pull,
    trigger_share,
    trustworthiness,
    uniformity,
    wilson_interval,
)
from cleaner.models.classifier import zero_shot_classifier
from cleaner.types import CleanerError

pytestmark = pytest.mark.quick

EYE = torch.eye(4)


def test_classifier_normalizes_features_and_mean() -> None:
    prompts = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[5.0, 0.0], [2.0, 0.0]]])
    classifier = zero_shot_classifier(prompts)
    half = math.sqrt(0.5)
    assert torch.allclose(classifier, torch.tensor([[half, 1.0], [half, 0.0]]))


def test_top_k_accuracy() -> None:
    scores = torch.tensor([[0.9, 0.5, 0.1, 0.0], [0.1, 0.2, 0.9, 0.0]])
    labels = torch.tensor([0, 1])
    assert top_k_accuracy(scores, EYE, labels, k=1) == 0.5
    assert top_k_accuracy(scores, EYE, labels, k=2) == 1.0


def test_asr_excludes_the_target_class() -> None:
    features = EYE[[0, 0, 1, 2]]
    labels = torch.tensor([0, 1, 1, 2])
    assert attack_success_rate(features, EYE, labels, 0) == pytest.approx(1 / 3)
    assert attack_success_rate(features, EYE, labels, 0, protocol="all_images") == 0.5


def test_asr_without_images_of_other_classes_is_nan() -> None:
    assert math.isnan(attack_success_rate(EYE[[0]], EYE, torch.tensor([0]), 0))


def test_unknown_protocol_and_k_are_rejected() -> None:
    with pytest.raises(CleanerError, match="non_target, all_images"):
        attack_success_rate(EYE, EYE, torch.arange(4), 0, protocol="some")
    with pytest.raises(CleanerError, match="the number of classes, 4"):
        in_top_k(EYE, EYE, torch.arange(4), k=5)


def test_a_broken_model_scores_zero() -> None:
    broken = torch.full((4, 4), math.nan)
    assert top_k_accuracy(broken, EYE, torch.arange(4)) == 0.0
    assert [attack_success_rate(broken, EYE, torch.full((4,), -1), target) for target in range(4)] == [0.0] * 4
    assert retrieval_recall(broken, EYE) == retrieval_recall(EYE, broken) == 0.0
    assert [recall_of_any(broken, EYE, torch.arange(4) == row, 2) for row in range(4)] == [0.0] * 4
    one = torch.cat([EYE[:3], broken[:1]])
    assert top_k_accuracy(one, EYE, torch.arange(4)) == 0.75


def test_recall_of_any_counts_queries_that_find_one() -> None:
    queries, is_wanted = torch.tensor([[0.9, 0.5, 0.1, 0], [0, 0.9, 0.5, 0.1]]), torch.tensor([1, 0, 0, 1]) > 0
    assert [recall_of_any(queries, EYE, is_wanted, k) for k in (1, 2, 3, 9)] == [0.5, 0.5, 1.0, 1.0]


def test_recall_of_an_item_counts_ties_and_nan_as_lost() -> None:
    gallery = EYE[[0, 1, 2, 1]]
    queries = torch.tensor([[0.0, 1, 0, 0], [0.9, 0.1, 0.5, 0], [0.1, 0.2, 0.3, 0], [math.nan, 0, 0, 0]])
    assert recall_of_item(EYE[[1]], gallery, 1) == 0.0  # row 3 is as near
    assert [recall_of_item(queries, gallery, 0, k) for k in (1, 2, 3, 4)] == [0.25, 0.25, 0.25, 0.75]


def test_wilson_interval_known_value() -> None:
    # Wilson's interval for 8 of 10 (Newcombe 1998): 0.490 to 0.943.
    low, high = wilson_interval(0.8, 10)
    assert (low, high) == (pytest.approx(0.490, abs=1e-3), pytest.approx(0.943, abs=1e-3))
    assert wilson_interval(0.0, 0) == (0.0, 1.0)


def test_wilson_interval_of_a_share_in_single_precision() -> None:
    for hits in range(37):
        interval = binomtest(hits, 36).proportion_ci(0.95, method="wilson")
        assert wilson_interval(torch.tensor(hits / 36).item(), 36) == (interval.low, interval.high)


def test_retrieval_recall() -> None:
    image, text = EYE, EYE[[0, 2, 1, 3]]
    assert retrieval_recall(image, text, 1) == 0.5
    assert retrieval_recall(image, text, 4) == 1.0
    drawn = F.normalize(torch.randn(1500, 64, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert retrieval_recall(drawn, drawn, 1) == 1.0  # a caption does not beat itself by rounding


def test_trigger_share_counts_positive_attribution_only() -> None:
    attribution = torch.tensor([[[3.0, -5.0], [1.0, 0.0]], [[-1.0, 0.0], [0.0, -2.0]]])
    mask = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]], [[[1.0, 1.0], [1.0, 1.0]]]])
    shares = trigger_share(attribution, mask)
    assert shares[0].item() == pytest.approx(0.75)
    assert shares[1].isnan()
    assert map_similarity(attribution, 2 * attribution).tolist() == pytest.approx([1.0, 1.0])
    assert map_similarity(attribution, -attribution).tolist() == pytest.approx([-1.0, -1.0])
    assert map_similarity(attribution, 0 * attribution).isnan().all()  # 0 would say that the places differ


def test_distances_of_hand_made_features() -> None:
    a, b = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    assert feature_shift(a, b).tolist() == pytest.approx([1.0, 0.0])
    assert trigger_pull(a[:1], b[:1], target=torch.tensor([0.0, 2.0])) == pytest.approx(1.0)
    assert modality_gap(a, b) == pytest.approx(math.sqrt(0.5))
    assert alignment(a, b) == pytest.approx(1.0)
    assert uniformity(a) == pytest.approx(-4.0)
    assert uniformity(b) == pytest.approx(0.0)


def cosine_distances(features: torch.Tensor) -> torch.Tensor:
    unit = F.normalize(features.double(), dim=-1)
    return 1 - unit @ unit.T


def naive_silhouette(features: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean of (b - a) / max(a, b); a: mean distance to the own group, b: to the nearest other one."""
    distance, scores = cosine_distances(features), []
    for i, label in enumerate(labels):
        own = (labels == label) & (torch.arange(len(labels)) != i)
        if not own.any():
            scores.append(0.0)
            continue
        a = distance[i, own].mean().item()
        b = min(distance[i, labels == other].mean().item() for other in labels.unique() if other != label)
        scores.append((b - a) / max(a, b))
    return sum(scores) / len(scores)


def naive_trustworthiness(features: torch.Tensor, projected: torch.Tensor, k: int) -> float:
    """1 - 2 / (N k (2N - 3k - 1)) * sum over the k nearest on the map of max(0, rank among the features - k)."""
    n, penalty = len(features), 0
    ranks = cosine_distances(features).fill_diagonal_(-1).argsort(1).argsort(1)
    for i in range(n):
        nearest = (projected - projected[i]).norm(dim=1).argsort()[1 : k + 1]
        penalty += (ranks[i, nearest] - k).clamp(min=0).sum().item()
    return 1 - 2 * penalty / (n * k * (2 * n - 3 * k - 1))


def grouped_features() -> tuple[torch.Tensor, torch.Tensor]:
    features = torch.randn(90, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(90) % 3
    features[labels == 1, 0] += 3
    return features, labels


def test_silhouette_equals_the_formula() -> None:
    features, labels = grouped_features()
    assert silhouette(features, labels) == pytest.approx(naive_silhouette(features, labels), abs=1e-6)
    labels[:1] = 7  # alone in its group
    assert silhouette(features, labels) == pytest.approx(naive_silhouette(features, labels), abs=1e-6)
    assert silhouette(features[:2], torch.arange(2)) == 0.0
    assert math.isnan(silhouette(features, torch.zeros(90)))
    features[3, 2] = math.nan
    assert math.isnan(silhouette(features, labels))


def test_trustworthiness_equals_the_formula() -> None:
    features, _ = grouped_features()
    projected = features[:, :2].clone()
    expected = naive_trustworthiness(features, projected, 7)
    assert trustworthiness(features, projected, k=7) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(CleanerError, match="more than 30 points"):
        trustworthiness(features[:20], projected[:20])
