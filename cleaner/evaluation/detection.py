"""How well scores tell poisoned from clean: AUROC, precision, and what a threshold catches. Pure functions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cleaner.evaluation.bootstrap import auroc_interval
from cleaner.types import CleanerError

Scores = NDArray[Any]
DEFAULT_IMAGES = 500
FALSE_ALARMS = (0.01, 0.05)
"""Shares of clean items that a threshold may flag."""
MAX_CURVE_POINTS = 200
CHANCE = 0.5
"""AUROC of scores that tell nothing."""


@dataclass(frozen=True)
class DetectionFigures:
    """Figures of one detector, 0..1.

    Attributes:
        auroc: share of (clean, poisoned) pairs in which the poisoned one scores higher; 0.5: chance.
        interval: its 95% bootstrap interval.
        average_precision: mean precision over the ranks of the poisoned items; chance: their share.
        caught: share of the poisoned items that are caught at each share of `FALSE_ALARMS`.
        top_precision: share of poisoned items among as many top ranks as there are poisoned items; of equal scores
            at the end, the expected share.
        clean, poisoned: number of items.
    """

    auroc: float
    interval: tuple[float, float]
    average_precision: float
    caught: tuple[float, ...]
    top_precision: float
    clean: int
    poisoned: int

    @property
    def is_reversed(self) -> bool:
        """Whether poisoned items score below clean ones, beyond the interval."""
        return self.interval[1] < CHANCE


def measure_detection(
    clean: Scores, poisoned: Scores, images: tuple[NDArray[Any], NDArray[Any]] | None = None
) -> DetectionFigures:
    """Return the figures of scores (higher: more suspicious); `images` as in `auroc_interval`."""
    from sklearn.metrics import average_precision_score

    if not len(clean) or not len(poisoned):
        raise CleanerError("detection is measured on clean and on poisoned items: one of both groups is empty.")
    scores, truth = np.concatenate([clean, poisoned]), np.repeat([False, True], [len(clean), len(poisoned)])
    return DetectionFigures(
        auroc=compute_auroc(scores, truth),
        interval=auroc_interval(clean, poisoned, images),
        average_precision=float(average_precision_score(truth, scores)),
        caught=tuple(float((poisoned > find_threshold(clean, share)).mean()) for share in FALSE_ALARMS),
        top_precision=_measure_top_precision(clean, poisoned),
        clean=len(clean),
        poisoned=len(poisoned),
    )


def measure_ranking(
    scores: Scores, is_poisoned: NDArray[np.bool_], images: NDArray[Any] | None = None
) -> DetectionFigures | None:
    """Return `measure_detection` of the scores of items; None if all are clean, or all poisoned; images: (N,)."""
    is_poisoned = np.asarray(is_poisoned, dtype=bool)
    if not is_poisoned.any() or is_poisoned.all():
        return None
    named = None if images is None else (images[~is_poisoned], images[is_poisoned])
    return measure_detection(scores[~is_poisoned], scores[is_poisoned], named)


def compute_auroc(scores: Scores, is_poisoned: NDArray[np.bool_]) -> float:
    """Return the share of (clean, poisoned) pairs of items in which the poisoned one scores higher; ties count half."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(is_poisoned, scores))


def find_threshold(clean: Scores, false_alarms: float) -> float:
    """Return the lowest threshold that at most this share of the clean scores exceeds."""
    allowed = int(false_alarms * len(clean))
    return float(np.sort(clean)[max(len(clean) - 1 - allowed, 0)])


def conformal_p(clean: Scores, score: float) -> float:
    """Return (1 + how many of n clean scores are at least as high) / (n + 1): at most alpha for a share alpha of clean
    items that are exchangeable with these.
    """
    return float((1 + (clean >= score).sum()) / (1 + len(clean)))


def describe_calibration(n: int) -> str:
    """Return what thresholds are fixed on, n clean images, and for which of `FALSE_ALARMS` these are too few."""
    unresolved = " and ".join(f"{share:.0%}" for share in FALSE_ALARMS if int(share * n) < 1)
    few = f" These are too few for {unresolved} false alarms: the threshold is then their highest score."
    return f"Threshold from {n:,} clean validation images.{few if unresolved else ''}"


def rank(scores: Scores) -> NDArray[np.int64]:
    """Return the indices of scores, highest first; ties in their order."""
    return np.argsort(-scores, kind="stable")


def _measure_top_precision(clean: Scores, poisoned: Scores) -> float:
    """Return the share of poisoned items among the len(poisoned) highest scores, with ties in random order."""
    last = np.sort(np.concatenate([clean, poisoned]))[-len(poisoned)]
    caught, tied = (poisoned > last).sum(), (poisoned == last).sum()
    places = len(poisoned) - caught - (clean > last).sum()
    return float((caught + places * tied / (tied + (clean == last).sum())) / len(poisoned))


@dataclass(frozen=True, kw_only=True)
class ThresholdOutcome:
    """A threshold fixed on one set of clean items, applied to others.

    Attributes:
        allowed: share of false alarms for which it was fixed.
        threshold: the score above which an item is flagged.
        false_alarms, caught: shares of the other clean and of the poisoned items that are flagged.
        f1: harmonic mean of precision and `caught` where both groups are equally common.
    """

    allowed: float
    threshold: float
    false_alarms: float
    caught: float

    @property
    def f1(self) -> float:
        return 2 * self.caught / (1 + self.caught + self.false_alarms)


def apply_threshold(calibration: Scores, clean: Scores, poisoned: Scores, allowed: float) -> ThresholdOutcome:
    """Fix a threshold on clean `calibration` scores and apply it to other clean and poisoned scores."""
    threshold = find_threshold(calibration, allowed)
    return ThresholdOutcome(
        allowed=allowed,
        threshold=threshold,
        false_alarms=float((clean > threshold).mean()),
        caught=float((poisoned > threshold).mean()),
    )


def roc_curve(clean: Scores, poisoned: Scores) -> tuple[list[float], list[float]]:
    """Return false alarms and caught shares over all thresholds, at most `MAX_CURVE_POINTS` points."""
    thresholds = np.unique(np.concatenate([clean, poisoned]))[::-1]
    if len(thresholds) > MAX_CURVE_POINTS:
        thresholds = thresholds[np.linspace(0, len(thresholds) - 1, MAX_CURVE_POINTS).astype(int)]
    shares = [1 - np.searchsorted(np.sort(group), thresholds) / len(group) for group in (clean, poisoned)]
    return [0.0, *shares[0].tolist()], [0.0, *shares[1].tolist()]
