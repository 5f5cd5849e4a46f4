"""Does an image carry a trigger? Scores of test images without and with it, and of clean images of another split."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData
from cleaner.data.poison import apply_trigger
from cleaner.detectors.base import ImageDetector, ImageScorer, require_scores
from cleaner.evaluation.detection import (
    DEFAULT_IMAGES,
    FALSE_ALARMS,
    DetectionFigures,
    ThresholdOutcome,
    apply_threshold,
    measure_detection,
)
from cleaner.evaluation.encode import Encoder, prefetch_batches, require_finite
from cleaner.evaluation.evaluate import validate_eval_data
from cleaner.models.clip import Clip
from cleaner.types import CleanerError, OnStep, start_progress


@dataclass(frozen=True)
class ImageDetection:
    """Scores of one detector, higher is more suspicious.

    Attributes:
        clean, triggered: (n,) of the same test images without and with the trigger; none shows the target class.
        calibration: (m,) of clean images of another split, from which a defender can choose a threshold.
    """

    clean: NDArray[np.float32]
    triggered: NDArray[np.float32]
    calibration: NDArray[np.float32]

    @cached_property
    def figures(self) -> DetectionFigures:
        """The figures on test images; the interval takes 0.2 s."""
        images = np.arange(len(self.clean))
        return measure_detection(self.clean, self.triggered, (images, images))

    def outcomes(self) -> list[ThresholdOutcome]:
        """Return what thresholds fixed on the calibration images do, one for each share of `FALSE_ALARMS`."""
        return [apply_threshold(self.calibration, self.clean, self.triggered, share) for share in FALSE_ALARMS]

    def describe(self) -> dict[str, Any]:
        """Return the figures on test images, and the outcomes, as JSON has them."""
        return {**asdict(self.figures), "thresholds": [{**asdict(each), "f1": each.f1} for each in self.outcomes()]}


@torch.inference_mode()
def detect_images(
    clip: Clip,
    detectors: Mapping[str, ImageDetector],
    *,
    test: CaptionData,
    calibration: CaptionData,
    trigger: Trigger,
    target_class: str,
    n: int = DEFAULT_IMAGES,
    on_step: OnStep | None = None,
) -> dict[str, ImageDetection]:
    """Score the first `n` test images of other classes than the target, and `n` clean ones of another split.

    Each image is encoded once for all detectors, and once more for each mask.
    """
    if n < 1:
        raise CleanerError(f"the number of images must be at least 1, not {n}.")
    if "image" not in trigger.modalities:
        raise CleanerError("this attack changes no image, only the text: choose a run with an image trigger.")
    test, calibration = (data.with_transform(clip.framing) for data in (test, calibration))
    validate_eval_data(test, target_class)
    encoder = Encoder(clip, on_step=on_step)
    classifier = require_finite(encoder.build_classifier(test))
    scorers = {name: each.prepare(encoder, test.class_names, classifier) for name, each in detectors.items()}
    is_other = (test.labels >= 0) & (test.labels != test.class_index(target_class))
    rows = is_other.nonzero().flatten()[:n]
    clean_rows = calibration.labeled_rows(n)
    if not len(clean_rows):
        raise CleanerError(f"{calibration.name} has no labeled images to choose a threshold on: label some of them.")
    done, report = 0, start_progress(on_step, "detect", 2 * len(rows) + len(clean_rows))
    scores: dict[str, dict[str, list[Tensor]]] = {
        name: {"clean": [], "triggered": [], "calibration": []} for name in detectors
    }

    def add(kind: str, images: Tensor) -> None:
        nonlocal done
        for name, values in score_images(encoder, scorers, images).items():
            scores[name][kind].append(values)
        done += len(images)
        report(done)

    for images in prefetch_batches(test, rows, encoder.image_batch):
        add("clean", images)
        add("triggered", apply_trigger(trigger, images))
    for images in prefetch_batches(calibration, clean_rows, encoder.image_batch):
        add("calibration", images)
    return {
        name: ImageDetection(**{kind: np.asarray(torch.cat(parts), np.float32) for kind, parts in kinds.items()})
        for name, kinds in scores.items()
    }


def score_images(encoder: Encoder, scorers: Mapping[str, ImageScorer], images: Tensor) -> dict[str, Tensor]:
    """Return detector -> scores (N,) of images (N, 3, H, W) in [0, 1] that fit in one batch."""
    features = require_finite(encoder.encode_image(images))
    return {name: require_scores(scorer(images, features), len(images), name) for name, scorer in scorers.items()}


@torch.inference_mode()
def score_single(clip: Clip, detector: ImageDetector, data: CaptionData, images: Tensor) -> list[float]:
    """Return the score of each image (N, 3, H, W) in [0, 1], for the classes of `data`."""
    encoder, name = Encoder(clip), type(detector).__name__
    scorer = detector.prepare(encoder, data.class_names, require_finite(encoder.build_classifier(data)))
    scores: list[float] = score_images(encoder, {name: scorer}, images)[name].tolist()
    return scores
