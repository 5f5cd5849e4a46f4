"""Bootstrap intervals: of the difference of two models' shares on the same images, and of an AUROC."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cleaner.evaluation.protocol import IMAGE_FIELDS, has_same_prompts
from cleaner.evaluation.result import METRICS, Metrics

RESAMPLES = 10_000
AUROC_RESAMPLES = 2_000
FEW = 10
"""Images of a group whose resamples vary too little."""
COUNT_FIELDS = {name: METRICS[name].count for name in ("ca", "asr", "ra")}
"""Metric -> the field with its number of images."""


def pack_outcomes(outcomes: NDArray[np.bool_]) -> str:
    """Return (N,) outcomes as base64 text, one bit each."""
    return base64.b64encode(np.packbits(outcomes).tobytes()).decode()


def unpack_outcomes(text: str, n: int) -> NDArray[np.bool_]:
    """Return the (n,) outcomes that `pack_outcomes` wrote."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=n).astype(bool)


def bootstrap_interval(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the 95% interval of mean(after) - mean(before) over the same (N,) images, by the paired bootstrap.

    Percentiles of 10,000 resamples (seed 0). A resample changes the difference only by how many of its images improved
    and how many got worse, so these two counts are drawn from a multinomial distribution, which is equivalent.

    If all N images did the same (none changed, all improved, all got worse), resamples have no spread, and one image
    would prove as much as a thousand. Then a share of 1 - 0.025^(1/N), which N images may well miss (exact binomial
    bound), is assumed to do otherwise.
    """
    n = len(before)
    improved, worsened = int((after & ~before).sum()), int((before & ~after).sum())
    if n in (improved, worsened, n - improved - worsened):
        difference, unseen = (improved - worsened) / n, 1 - 0.025 ** (1 / n)
        margin = unseen * (1 + abs(difference))  # from improved to worsened is twice as far
        return max(difference - margin, -1.0), min(difference + margin, 1.0)
    shares = np.array([improved, worsened, n - improved - worsened]) / n
    counts = np.random.default_rng(0).multinomial(n, shares, RESAMPLES)
    low, high = np.percentile((counts[:, 0] - counts[:, 1]) / n, [2.5, 97.5])
    return float(low), float(high)


def metric_difference_interval(
    before: Metrics | Mapping[str, Any], after: Metrics | Mapping[str, Any], name: str
) -> tuple[float, float] | None:
    """Return `bootstrap_interval` of "ca", "asr" or "ra" at k = 1 from two `Metrics`, or their `to_dict`.

    None if either lacks the outcomes, or the two were measured on different images or with other prompts.
    """
    before, after = (vars(m) if isinstance(m, Metrics) else m for m in (before, after))
    texts = [text for m in (before, after) if (text := (m.get("outcomes") or {}).get(name))]
    is_paired = has_same_prompts(before, after) and all(
        before.get(field) == after.get(field) for field in (*IMAGE_FIELDS, COUNT_FIELDS[name])
    )
    is_paired &= name == "ca" or before.get("queries", "images") == after.get("queries", "images")
    if not is_paired or len(texts) < 2:
        return None
    first, second = (unpack_outcomes(text, after[COUNT_FIELDS[name]]) for text in texts)
    return bootstrap_interval(first, second)


def auroc_interval(
    negatives: NDArray[Any], positives: NDArray[Any], images: tuple[NDArray[Any], NDArray[Any]] | None = None
) -> tuple[float, float]:
    """Return the 95% interval of the share of pairs in which the positive scores higher; ties count half.

    Percentiles of 2,000 resamples (seed 0) of the images. `images` names that of each item of both groups, by default
    all different: items of one image are drawn together, as scores of the same image say nothing twice, and those of an
    image without and with a trigger depend on each other.

    Resamples of groups that do not overlap, or of equal scores, have no spread. The interval then lets a share
    u = 1 - 0.025^(1/n) of the smaller group, of n images, rank the other way, or above or below the rest: the exact
    97.5% bound on the frequency of what n images do not show. Resamples of fewer than `FEW` images, and of groups that
    hardly overlap, have too little spread: the interval then covers at least what that share could change.
    """
    sizes = len(negatives), len(positives)
    values, places = np.unique(np.concatenate([negatives, positives]), return_inverse=True)
    named = np.arange(sum(sizes)) if images is None else np.concatenate(images)
    names, items = np.unique(named, return_inverse=True)
    groups = places[: sizes[0]], places[sizes[0] :]
    images_of = items[: sizes[0]], items[sizes[0] :]
    smaller = min(len(np.unique(each)) for each in images_of)
    unseen = float(1 - 0.025 ** (1 / smaller))
    if positives.min() > negatives.max():
        return 1 - unseen, 1.0
    if positives.max() < negatives.min():
        return 0.0, unseen
    if len(values) == 1:
        return 0.5 - unseen / 2, 0.5 + unseen / 2
    is_in = [np.isin(np.arange(len(names)), each) for each in images_of]
    kinds = (is_in[0] & ~is_in[1], is_in[1] & ~is_in[0], is_in[0] & is_in[1])
    strata = [np.flatnonzero(kind) for kind in kinds if kind.any()]
    generator = np.random.default_rng(0)

    def share(counts: NDArray[Any]) -> float:
        """Return the share if each image counts so often."""
        below, above = (
            np.bincount(group, counts[each], len(values)) for group, each in zip(groups, images_of, strict=True)
        )
        return float((above * (below.cumsum() - below / 2)).sum() / (below.sum() * above.sum()))

    def resample() -> NDArray[Any]:
        drawn = np.concatenate([generator.choice(stratum, len(stratum)) for stratum in strata])
        return np.bincount(drawn, minlength=len(names))

    first, last = map(float, np.percentile([share(resample()) for _ in range(AUROC_RESAMPLES)], [2.5, 97.5]))
    auroc = share(np.ones(len(names)))
    if smaller < FEW or min(auroc, 1 - auroc) < unseen:
        first, last = min(first, auroc * (1 - unseen)), max(last, auroc + (1 - auroc) * unseen)
    return first, last
