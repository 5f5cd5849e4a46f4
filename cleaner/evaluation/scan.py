"""scan(): which built-in trigger moves the pictures of a suspicious model to one class? A search, not an ASR."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from scipy.stats import binomtest
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, Trigger
from cleaner.data.base import CaptionData
from cleaner.evaluation.evaluate import EVAL_BATCH_SIZE, build_classifier, prefetch_batches
from cleaner.models.clip import Clip
from cleaner.types import CleanerError, OnStep, StepReport

CONFIDENCE = 0.95
SCAN_WARNING = (
    "A scan that finds nothing proves nothing: it tries the built-in triggers alone, each at one strength and place. A "
    "rise is a lead, not a proof: strong triggers move clean models too, so compare with a model that you trust."
)


@dataclass(frozen=True)
class ScanResult:
    """How many more pictures are taken for a class with a trigger than without it.

    Attributes:
        before, after: share of the `n` pictures that are taken for the class, untouched and triggered, 0..1.
        interval: of after - before, on the same pictures; holds for all lines of a scan at once with 95 %.
    """

    trigger: str
    class_name: str
    before: float
    after: float
    interval: tuple[float, float]
    n: int

    @property
    def rise(self) -> float:
        """Return after - before, -1..1."""
        return self.after - self.before

    @property
    def is_significant(self) -> bool:
        """Whether the interval lies above zero."""
        return self.interval[0] > 0


def find_scannable_triggers() -> tuple[dict[str, Trigger], dict[str, str]]:
    """Return the built-in triggers that can be tried as they are, and name -> why not for the others."""
    made = {name: TRIGGERS[name]() for name in TRIGGERS}
    left = {name: reason for name, trigger in made.items() if (reason := explain_unscannable(trigger))}
    return {name: trigger for name, trigger in made.items() if name not in left}, left


def explain_unscannable(trigger: Trigger) -> str:
    """Return why a trigger cannot be put on the pictures of a scan, in one sentence; empty if it can."""
    text = "this trigger changes the text alone, a scan changes pictures: choose another one."
    return trigger.unready_reason or ("" if "image" in trigger.modalities else text)


@torch.inference_mode()
def scan(
    clip: Clip, data: CaptionData, triggers: Mapping[str, Trigger], n: int = 1000, on_step: OnStep | None = None
) -> list[ScanResult]:
    """Put each trigger on the first `n` pictures of `data`; return one line for each trigger and class, steepest first.

    No label is needed, and no target class is assumed. Raises `CleanerError` for fewer than two classes, no pictures,
    no trigger or a model whose features are not finite.
    """
    data = data.with_transform(clip.framing)
    if len(data.class_names) < 2 or not len(data) or n < 1 or not triggers:
        raise CleanerError(
            "a scan needs pictures (one at least), at least two class names (classes=a,b) and at least one trigger."
        )
    classifier = build_classifier(clip, data)
    rows, begun = torch.arange(min(n, len(data))), time.perf_counter()
    untouched: list[Tensor] = []
    triggered: dict[str, list[Tensor]] = {name: [] for name in triggers}

    def best(images: Tensor) -> Tensor:
        scores = clip.encode_image(images).cpu() @ classifier
        if not scores.isfinite().all():  # argmax would name a class all the same, and no trigger would seem to move it
            raise CleanerError(
                "this model answers with numbers that are not finite (NaN), so a scan of it would say nothing: its "
                "weights are broken, take another checkpoint."
            )
        return scores.argmax(dim=1)

    total, done = len(list(rows.split(EVAL_BATCH_SIZE))) * len(triggers), 0
    for _, images in prefetch_batches(data, rows):
        untouched.append(best(images))
        for name, trigger in triggers.items():
            triggered[name].append(best(trigger(images)))
            done += 1
            if on_step is not None:
                on_step(StepReport("scan", done, total, time.perf_counter() - begun))
    before = torch.cat(untouched)
    # The steepest of many lines is steep by chance: the level is shared out among all of them (Bonferroni).
    level = 1 - (1 - CONFIDENCE) / (len(triggers) * len(data.class_names))
    found = [
        _compare_outcomes(name, class_name, before == index, torch.cat(after) == index, level)
        for name, after in triggered.items()
        for index, class_name in enumerate(data.class_names)
    ]
    return sorted(found, key=lambda line: (-line.interval[0], -line.rise))


def _compare_outcomes(trigger: str, class_name: str, before: Tensor, after: Tensor, confidence: float) -> ScanResult:
    """Compare two (n,) bool on the same pictures."""
    n = len(before)
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    interval = paired_interval(gained, lost, n, confidence)
    return ScanResult(trigger, class_name, before.float().mean().item(), after.float().mean().item(), interval, n)


@lru_cache(maxsize=4096)  # with many classes nearly all lines have the same few counts, and each takes milliseconds
def paired_interval(gained: int, lost: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return an interval of (gained - lost) / n, a difference of two shares of the same n pictures.

    It joins the exact (Clopper-Pearson) intervals of both counts, each at half of the error: wider than need be, but
    right also for few changes and the high levels of a scan, where the usual approximations fail.
    """
    each = (1 + confidence) / 2
    up, down = (binomtest(count, n).proportion_ci(each, method="exact") for count in (gained, lost))
    return float(up.low - down.high), float(up.high - down.low)
