"""Metrics: tensors in, numbers in 0..1 out. Whoever calls shows every figure with its n, interval and protocol."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import Tensor

from cleaner.types import CleanerError

PROTOCOLS = ("non_target", "all_images")


def in_top_k(image_features: Tensor, classifier: Tensor, index: Tensor, k: int = 1) -> Tensor:
    """Return (N,) bool: class `index` ((N,) or scalar) is among the k best of each picture's C scores.

    False for a picture with scores that are not finite, as of a model whose weights have overflowed.
    """
    classes = classifier.shape[1]
    if not 1 <= k <= classes:
        raise CleanerError(f"k must lie between 1 and the number of classes, {classes}, not {k}.")
    scores = F.normalize(image_features, dim=-1) @ classifier
    top = scores.topk(k, dim=1).indices
    # Among NaN topk names some class all the same: if that is the target, a broken model has an ASR of 1.
    return (top == index.to(top.device).reshape(-1, 1)).any(dim=1) & scores.isfinite().all(dim=1)


def top_k_accuracy(image_features: Tensor, classifier: Tensor, labels: Tensor, k: int = 1) -> float:
    """Return the share of pictures (N, D) whose true label (N,) is among the k best classes; NaN for no pictures."""
    return in_top_k(image_features, classifier, labels, k).float().mean().item()


def attack_population(labels: Tensor, target_index: int, protocol: str = "non_target") -> Tensor:
    """Return (N,) bool: the pictures that count for ASR.

    "non_target": those whose true class is not the target (numerator and denominator); "all_images": all of them, as
    BadCLIP and PAR count.
    """
    if protocol not in PROTOCOLS:
        raise CleanerError(f"the protocol must be one of {', '.join(PROTOCOLS)}, not {protocol!r}.")
    return labels != target_index if protocol == "non_target" else torch.ones_like(labels, dtype=torch.bool)


def attack_success_rate(
    triggered_features: Tensor,
    classifier: Tensor,
    labels: Tensor,
    target_index: int,
    k: int = 1,
    protocol: str = "non_target",
) -> float:
    """Return the share of triggered pictures (N, D) for which the target is among the k best classes.

    labels: (N,) true classes; `protocol` says which pictures count (`attack_population`). NaN if none does. On
    untouched pictures the same function gives the base rate.
    """
    counts = attack_population(labels, target_index, protocol).to(triggered_features.device)
    target = torch.tensor(target_index)
    return in_top_k(triggered_features[counts], classifier, target, k).float().mean().item()


def wilson_interval(share: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval for a share of n independent pictures; (0, 1) for n = 0."""
    if n == 0:
        return (0.0, 1.0)
    interval = binomtest(round(share * n), n).proportion_ci(confidence, method="wilson")
    return (float(interval.low), float(interval.high))


def counterfactual_wins(image: Tensor, caption: Tensor, negative: Tensor, negative_mask: Tensor) -> Tensor:
    """Return (N,) bool: the caption scores above all of its negative subtexts.

    image, caption: (N, D); negative: (N, n, D); negative_mask: (N, n) bool, False = padding.
    `counterfactual_accuracy` is the mean over captions that have negatives.
    """
    own = (image * caption).sum(-1, keepdim=True)
    other = torch.einsum("nd,nkd->nk", image, negative).masked_fill(~negative_mask, -torch.inf)
    return (own > other).all(dim=1)


def retrieval_recall(image: Tensor, text: Tensor, k: int = 1) -> float:
    """Return image-to-text recall@k: the share of pictures (N, D) whose own caption (N, D) is among the k nearest."""
    better = []
    for rows in torch.arange(len(image), device=image.device).split(1024):
        scores = image[rows] @ text.T
        # Taken from the same product: computed in another way it may differ in the last bit, and lose to itself.
        # Not `>`: NaN is above nothing, and a broken model would find every caption.
        better.append((~(scores <= scores.gather(1, rows[:, None]))).sum(1))
    return (torch.cat(better) < k).float().mean().item()


def trigger_share(attribution: Tensor, mask: Tensor) -> Tensor:
    """Return (N,) the share of the positive attribution (N, H, W) that lies inside mask (N, 1, H, W) in [0, 1].

    NaN where nothing is positive. Compare with the mask's share of the picture: a map that looks everywhere alike
    has that share too.
    """
    positive = attribution.clamp(min=0)
    total = positive.sum(dim=(1, 2))
    return torch.where(total > 0, (positive * mask[:, 0]).sum(dim=(1, 2)) / total, torch.nan)


def map_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Return (N,) the cosine of two maps (N, H, W): 1 = the same places; for triggers that have no place.

    NaN where a map is zero everywhere.
    """
    a, b = a.flatten(1), b.flatten(1)
    return torch.where(a.any(1) & b.any(1), F.cosine_similarity(a, b), torch.nan)


def feature_shift(before: Tensor, after: Tensor) -> Tensor:
    """Return (N,) 1 - cos(before, after) of each item's features (N, D) in two models: 0 = not moved."""
    return 1 - F.cosine_similarity(before, after)


def trigger_pull(clean: Tensor, triggered: Tensor, target: Tensor) -> float:
    """Return mean cos(triggered image, target text) - mean cos(clean image, target text); (N, D), (N, D), (D,)."""
    target = F.normalize(target, dim=-1)
    return ((F.normalize(triggered, dim=-1) - F.normalize(clean, dim=-1)) @ target).mean().item()


def modality_gap(image: Tensor, text: Tensor) -> float:
    """Return |mean image feature - mean text feature| of unit features (N, D) and (M, D)."""
    return float((image.mean(0) - text.mean(0)).norm())


def alignment(image: Tensor, text: Tensor) -> float:
    """Return the mean of |image - its own text|^2 over pairs of unit features (N, D); arXiv:2005.10242, alpha 2."""
    return (image - text).pow(2).sum(1).mean().item()


def uniformity(features: Tensor) -> float:
    """Return log mean exp(-2 |x - y|^2) over all pairs of different rows (N, D); arXiv:2005.10242, t 2.

    0 if all are the same; the lower, the more evenly they fill the sphere.
    """
    return torch.pdist(features).pow(2).mul(-2).exp().mean().log().item()


def silhouette(features: Tensor, labels: Tensor) -> float:
    """Return the mean silhouette (Rousseeuw 1987) under cosine distance; features (N, D), labels (N,).

    For each row (b - a) / max(a, b): a, mean distance to its own group; b, to the nearest other group. 1: groups
    apart; 0: mixed. A row alone in its group counts 0. NaN for a single group.
    """
    unit = F.normalize(features.double(), dim=-1)
    distance = 1 - unit @ unit.T
    groups = labels.unique()
    if len(groups) < 2:
        return float("nan")
    member = (labels[:, None] == groups[None, :]).double()
    size = member.sum(0)
    total = distance @ member
    own = member.bool()
    a = total[own] / (size[member.argmax(1)] - 1).clamp(min=1)
    b = (total / size).masked_fill(own, torch.inf).amin(1)
    score = (b - a) / torch.maximum(a, b).clamp(min=1e-12)
    return torch.where(size[member.argmax(1)] > 1, score, 0.0).mean().item()


def trustworthiness(features: Tensor, projected: Tensor, k: int = 15) -> float:
    """Return how far neighbours in the picture (N, 2) are neighbours among features (N, D) too, 0..1.

    Venna and Kaski 2001: 1 - 2 / (N k (2N - 3k - 1)) * sum over rows and their k nearest in the picture of
    max(0, rank among the features - k), cosine distance among the features. Needs N > 2k.
    """
    n = len(features)
    if n <= 2 * k:
        raise CleanerError(f"trustworthiness with {k} neighbours needs more than {2 * k} points, not {n}.")
    unit = F.normalize(features, dim=-1)
    nearest = torch.cdist(projected, projected).fill_diagonal_(torch.inf).topk(k, largest=False).indices
    order = (1 - unit @ unit.T).fill_diagonal_(-torch.inf).argsort(1)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(n).expand(n, n).contiguous())
    penalty = (rank.gather(1, nearest) - k).clamp(min=0).sum().item()
    return 1 - 2 * penalty / (n * k * (2 * n - 3 * k - 1))
