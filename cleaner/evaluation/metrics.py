"""Metrics: pure functions from tensors to numbers. The caller shows each with its n, interval and protocol."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.types import CleanerError

PROTOCOLS = ("non_target", "all_images")


def validate_k(k: int, classes: int) -> None:
    """Raise `CleanerError` if there is no top k of so many classes."""
    if not 1 <= k <= classes:
        raise CleanerError(f"k must be between 1 and the number of classes, {classes}, not {k}.")


def in_top_k(image_features: Tensor, classifier: Tensor, index: Tensor, k: int = 1) -> Tensor:
    """Return (N,) bool: class `index` ((N,) or scalar) is among the k best of each image's C scores.

    False for an image whose scores are not finite, as from a model whose weights overflowed.
    """
    validate_k(k, classifier.shape[1])
    scores = F.normalize(image_features, dim=-1) @ classifier
    top = scores.topk(k, dim=1).indices
    # topk ranks NaN too: if it picks the target, a broken model would have an ASR of 1.
    return (top == index.to(top.device).reshape(-1, 1)).any(dim=1) & scores.isfinite().all(dim=1)


def top_k_accuracy(image_features: Tensor, classifier: Tensor, labels: Tensor, k: int = 1) -> float:
    """Return the share of images (N, D) whose true label (N,) is among the k best classes; NaN for no images."""
    return in_top_k(image_features, classifier, labels, k).float().mean().item()


def attack_population(labels: Tensor, target_index: int, protocol: str = "non_target") -> Tensor:
    """Return (N,) bool: the images that count for ASR.

    "non_target": those whose true class is not the target, in numerator and denominator; "all_images": all, as in
    BadCLIP and PAR.
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
    """Return the share of triggered images (N, D) for which the target is among the k best classes.

    labels: (N,) true classes; `protocol` selects the images that count (`attack_population`). NaN if none does. Clean
    images give the base rate.
    """
    population = attack_population(labels, target_index, protocol).to(triggered_features.device)
    target = torch.tensor(target_index)
    return in_top_k(triggered_features[population], classifier, target, k).float().mean().item()


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95% interval for a share of n independent images; (0, 1) for n = 0."""
    if n == 0:
        return (0.0, 1.0)
    from scipy.stats import binomtest  # takes a second to load

    interval = binomtest(round(share * n), n).proportion_ci(0.95, method="wilson")
    return (float(interval.low), float(interval.high))


def retrieval_recall(image: Tensor, text: Tensor, k: int = 1) -> float:
    """Return image-to-text recall@k: the share of images (N, D) whose own caption (N, D) is among the k nearest."""
    better = []
    for rows in torch.arange(len(image), device=image.device).split(1024):
        scores = image[rows] @ text.T
        # The own score is read from the same product: computed separately it may differ in the last bit.
        # `~(<=)` rather than `>`, so that NaN counts as better and a broken model finds no caption.
        better.append((~(scores <= scores.gather(1, rows[:, None]))).sum(1))
    return (torch.cat(better) < k).float().mean().item()


def recall_of_item(queries: Tensor, gallery: Tensor, item: int, k: int = 1) -> float:
    """Return the share of queries (N, D) with row `item` of the gallery (G, D) among their k nearest; ties are lost."""
    better = []
    for block in queries.split(1024):
        scores = block @ gallery.T
        own = scores[:, item]
        # NaN counts as better, so that a broken model finds nothing; the item is not better than itself.
        better.append((~(scores < own[:, None])).sum(1) - own.isfinite().int())
    return (torch.cat(better) < k).float().mean().item()


def recall_of_any(queries: Tensor, gallery: Tensor, is_wanted: Tensor, k: int) -> float:
    """Return the share of queries (N, D) with a wanted row of the gallery (G, D) among their k nearest.

    is_wanted: (G,) bool. Queries whose scores are not finite find nothing (`in_top_k`).
    """
    found = []
    for block in queries.split(1024):
        scores = block @ gallery.T
        nearest = scores.topk(min(k, len(gallery))).indices
        found.append(is_wanted[nearest].any(dim=1) & scores.isfinite().all(dim=1))
    return torch.cat(found).float().mean().item()


def trigger_share(attribution: Tensor, mask: Tensor) -> Tensor:
    """Return (N,) the share of the positive attribution (N, H, W) that lies inside mask (N, 1, H, W) in [0, 1].

    NaN where nothing is positive. The baseline is the mask's share of the image, which a uniform map has too.
    """
    positive = attribution.clamp(min=0)
    total = positive.sum(dim=(1, 2))
    return torch.where(total > 0, (positive * mask[:, 0]).sum(dim=(1, 2)) / total, torch.nan)


def map_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Return (N,) the cosine of two maps (N, H, W): 1 = the same places; for triggers that cover the whole image.

    NaN where a map is zero everywhere.
    """
    a, b = a.flatten(1), b.flatten(1)
    return torch.where(a.any(1) & b.any(1), F.cosine_similarity(a, b), torch.nan)


def feature_shift(before: Tensor, after: Tensor) -> Tensor:
    """Return (N,) 1 - cos(before, after) of each item's features (N, D) in two models: 0 = no shift."""
    return 1 - F.cosine_similarity(before, after)


def trigger_pull(clean: Tensor, triggered: Tensor, *, target: Tensor) -> float:
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

    0 if all are equal; lower = spread more evenly over the sphere.
    """
    return torch.pdist(features).pow(2).mul(-2).exp().mean().log().item()


def silhouette(features: Tensor, labels: Tensor) -> float:
    """Return the mean silhouette (Rousseeuw 1987) under cosine distance, -1..1; features (N, D), labels (N,).

    1: the groups are apart; 0: mixed. A row alone in its group counts 0. NaN for a single group or features that are
    not finite.
    """
    from sklearn.metrics import silhouette_score  # takes 0.6 s to import

    n_groups = len(labels.unique())
    if n_groups < 2 or not features.isfinite().all():
        return float("nan")
    if n_groups == len(labels):  # scikit-learn rejects groups of one row alone
        return 0.0
    return float(silhouette_score(features.double().numpy(), labels.numpy(), metric="cosine"))


def trustworthiness(features: Tensor, projected: Tensor, *, k: int = 15) -> float:
    """Return how far the k neighbors on a map (N, 2) are neighbors among the features (N, D) too, 0..1.

    Venna and Kaski 2001, with cosine distance among the features. Raises `CleanerError` for N <= 2k.
    """
    from sklearn.manifold import trustworthiness as sklearn_trustworthiness  # takes 0.6 s to import

    if len(features) <= 2 * k:
        raise CleanerError(f"trustworthiness with {k} neighbors needs more than {2 * k} points, not {len(features)}.")
    return float(sklearn_trustworthiness(features.numpy(), projected.numpy(), n_neighbors=k, metric="cosine"))
