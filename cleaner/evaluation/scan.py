"""scan(): which built-in trigger moves the images of a suspect model to one class? A search, not an ASR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from cleaner.attacks.base import TRIGGERS, Trigger
from cleaner.data.base import CaptionData
from cleaner.evaluation.encode import Encoder, prefetch_batches, require_finite
from cleaner.models.clip import Clip
from cleaner.types import CleanerError, OnStep, start_progress

CONFIDENCE = 0.95
SCAN_WARNING = (
    "A scan that finds nothing proves nothing: another trigger, or another setting of these, may work. An "
    "increase is a lead, not a proof: strong triggers move clean models too, so compare with a model you trust."
)


@dataclass(frozen=True)
class ScanResult:
    """How much a trigger raises the share of images that are classified as one class.

    Attributes:
        before, after: share of the `n` images classified as the class, clean and triggered, 0..1.
        interval: of after - before, paired; all intervals of a scan hold simultaneously with 95%.
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


def find_scannable_triggers() -> tuple[dict[str, Trigger], dict[str, str]]:
    """Return the built-in triggers that work without preparation, and name -> reason for the others."""
    triggers = {name: TRIGGERS[name]() for name in TRIGGERS}
    reasons = {name: reason for name, trigger in triggers.items() if (reason := unscannable_reason(trigger))}
    return {name: trigger for name, trigger in triggers.items() if name not in reasons}, reasons


def unscannable_reason(trigger: Trigger) -> str | None:
    """Return in one sentence why a scan cannot use a trigger; None if it can."""
    text_only = "this trigger changes only the text, but a scan changes images: choose another one."
    return trigger.unready_reason or (None if "image" in trigger.modalities else text_only)


@torch.inference_mode()
def scan(
    clip: Clip,
    data: CaptionData,
    triggers: Mapping[str, Trigger],
    n: int = 1000,
    on_step: OnStep | None = None,
    *,
    stage: str = "scan",
) -> list[ScanResult]:
    """Put each trigger on the first `n` images of `data`; return one result per trigger and class.

    Sorted by the lower end of the interval, highest first. Needs no labels and assumes no target class.
    """
    data = data.with_transform(clip.framing)
    if len(data.class_names) < 2 or not len(data) or n < 1 or not triggers:
        raise CleanerError(
            "a scan needs at least one image, at least two class names (classes=a,b) and at least one trigger."
        )
    encoder = Encoder(clip, on_step=on_step)
    classifier = encoder.build_classifier(data)
    rows, done = torch.arange(min(n, len(data))), 0
    report = start_progress(on_step, stage, len(rows.split(encoder.image_batch)) * len(triggers))
    clean: list[Tensor] = []
    triggered: dict[str, list[Tensor]] = {name: [] for name in triggers}
    for images in prefetch_batches(data, rows, encoder.image_batch):
        clean.append(_classify(encoder, images, classifier))
        for name, trigger in triggers.items():
            triggered[name].append(_classify(encoder, trigger(images), classifier))
            done += 1
            report(done)
    before = torch.cat(clean)
    # The steepest of many results is steep by chance, so the error is split among all of them (Bonferroni).
    level = 1 - (1 - CONFIDENCE) / (len(triggers) * len(data.class_names))
    results = [
        result
        for name, after in triggered.items()
        for result in _compare_classes(name, data.class_names, before, torch.cat(after), level)
    ]
    return sorted(results, key=lambda result: (-result.interval[0], -result.rise))


def _classify(encoder: Encoder, images: Tensor, classifier: Tensor) -> Tensor:
    """Return the class (N,) of each image. Raises `CleanerError` if scores are not finite."""
    return require_finite(encoder.encode_image(images) @ classifier).argmax(dim=1)


def _compare_classes(
    trigger: str, class_names: Sequence[str], before: Tensor, after: Tensor, confidence: float
) -> list[ScanResult]:
    """Compare the classes (n,) of the same images without and with a trigger; return one result per class."""
    n, moved = len(before), before != after
    groups = (before, after, after[moved], before[moved])
    counts = (torch.bincount(classes, minlength=len(class_names)).tolist() for classes in groups)
    return [
        ScanResult(trigger, name, old / n, new / n, paired_interval(gained, lost, n=n, confidence=confidence), n=n)
        for name, old, new, gained, lost in zip(class_names, *counts, strict=True)
    ]


@lru_cache(maxsize=4096)  # each takes milliseconds, and with many classes most have the same few counts
def paired_interval(gained: int, lost: int, *, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return an interval of (gained - lost) / n, the difference of two shares of the same n images.

    It combines the exact (Clopper-Pearson) intervals of both counts, each at half the error: conservative, but valid
    for few changes and for the high levels of a scan, where the usual approximations fail.
    """
    from scipy.stats import binomtest  # takes a second to load

    level = (1 + confidence) / 2
    up, down = (binomtest(count, n).proportion_ci(level, method="exact") for count in (gained, lost))
    return float(up.low - down.high), float(up.high - down.low)
