"""Two models on the same pictures: outcomes of each, small enough for JSON, and how far two shares lie apart."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cleaner.evaluation.result import METRICS

RESAMPLES = 10_000
MATCHING_FIELDS = ("data", "data_sha256", "protocol", "target_class")
"""Fields that are equal for two models on the same pictures."""
COUNT_FIELDS = {name: METRICS[name].count for name in ("ca", "asr", "ra")}
"""Figure -> the field with the number of its pictures."""


def pack_outcomes(outcomes: NDArray[np.bool_]) -> str:
    """Return (N,) yes or no as text, a bit each."""
    return base64.b64encode(np.packbits(outcomes).tobytes()).decode()


def unpack_outcomes(text: str, n: int) -> NDArray[np.bool_]:
    """Return the (n,) outcomes that `pack_outcomes` wrote."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=n).astype(bool)


def bootstrap_interval(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the 95 % interval of mean(after) - mean(before) over the same (N,) pictures, by the paired bootstrap.

    Percentiles of 10,000 resamples (seed 0). Drawing N pictures with replacement changes the difference only by how
    many of them got better and how many got worse, so that these two counts are drawn: the same resamples, at once.

    Where all N pictures did the same (none changed, all got better, all got worse) resamples know no spread, and one
    picture would prove as much as a thousand: there a share of 1 - 0.025^(1/N), which so many pictures may well not
    show (exact binomial bound), is taken to do otherwise.
    """
    n = len(before)
    better, worse = int((after & ~before).sum()), int((before & ~after).sum())
    if n in (better, worse, n - better - worse):
        same, unseen = (better - worse) / n, 1 - 0.025 ** (1 / n)
        reach = unseen * (1 + abs(same))  # from better to worse is twice the way
        return max(same - reach, -1.0), min(same + reach, 1.0)
    shares = np.array([better, worse, n - better - worse]) / n
    drawn = np.random.default_rng(0).multinomial(n, shares, RESAMPLES)
    low, high = np.percentile((drawn[:, 0] - drawn[:, 1]) / n, [2.5, 97.5])
    return float(low), float(high)


def metric_difference_interval(
    before: Mapping[str, Any], after: Mapping[str, Any], name: str
) -> tuple[float, float] | None:
    """Return `bootstrap_interval` of a figure at k = 1 from two figures files (`Metrics.to_dict`).

    None where one does not hold the outcomes of "ca", "asr" or "ra", or they were measured on different pictures.
    """
    texts = [text for m in (before, after) if (text := (m.get("outcomes") or {}).get(name))]
    same = all(before.get(field) == after.get(field) for field in (*MATCHING_FIELDS, COUNT_FIELDS[name]))
    if not same or len(texts) < 2:
        return None
    first, second = (unpack_outcomes(text, after[COUNT_FIELDS[name]]) for text in texts)
    return bootstrap_interval(first, second)
