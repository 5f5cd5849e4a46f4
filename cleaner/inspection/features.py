"""Features of one model on a test set: clean and triggered images, captions, class prompts; and their metrics."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData
from cleaner.evaluation.encode import Encoder, require_finite
from cleaner.evaluation.metrics import (
    alignment,
    feature_shift,
    in_top_k,
    modality_gap,
    silhouette,
    trigger_pull,
    uniformity,
)
from cleaner.models.clip import Clip
from cleaner.types import OnStep

POINT_KINDS = ("image", "triggered", "caption", "prompt")
"""Kinds of points on a map: clean images, the same with trigger, their captions, class prompts."""


@dataclass(frozen=True, kw_only=True)
class ModelFeatures:
    """Unit features of one model, on the CPU: image, triggered, caption (n, D); prompt (C, D), of the classifier.

    `attack_success` (n,) bool: the triggered image is classified as the target, as for `Metrics.asr`: with the
    trigger's text key, if any, in the prompts. Images of the target class are included. Without a known trigger on
    images, `triggered` and `attack_success` are empty: a key in the text alone attacks captions.
    """

    image: Tensor
    triggered: Tensor
    caption: Tensor
    prompt: Tensor
    attack_success: Tensor


@torch.inference_mode()
def extract_features(
    clip: Clip,
    data: CaptionData,
    n: int,
    trigger: Trigger | None,
    target_class: str | None,
    on_step: OnStep | None = None,
    classes: Sequence[int] | None = None,
) -> ModelFeatures:
    """Return the features of the first `n` single-class pairs of `data`.

    classes: of the prompts, all if None, as a known attack needs.
    """
    rows, encoder = data.labeled_rows(n), Encoder(clip, on_step=on_step)
    image = require_finite(encoder.encode_rows(data, rows))
    captions = [data.captions[i] for i in rows.tolist()]
    caption = encoder.encode_texts(captions)
    classifier = encoder.build_classifier(data, classes=classes)
    triggered, attack_success = image[:0], torch.zeros(0, dtype=torch.bool)
    if trigger is not None and target_class is not None and "image" in trigger.modalities:
        triggered = encoder.encode_rows(data, rows, trigger)
        keyed = encoder.build_classifier(data, trigger, plain=classifier)
        attack_success = in_top_k(triggered, keyed, torch.tensor(data.class_index(target_class)))
    return ModelFeatures(
        image=image,
        triggered=triggered,
        caption=caption,
        prompt=classifier.T.contiguous(),
        attack_success=attack_success,
    )


def compute_embedding_metrics(features: ModelFeatures, labels: Tensor, target_index: int | None) -> dict[str, float]:
    """Return the metrics of one model's features; labels: (n,) classes of its images.

    modality_gap, alignment, uniformity; with triggered images also trigger_pull and silhouette, without images of the
    target class. A metric that is undefined, such as the uniformity of one image, is left out.
    """
    result = {
        "modality_gap": modality_gap(features.image, features.caption),
        "alignment": alignment(features.image, features.caption),
        "uniformity": uniformity(features.image),
    }
    if target_index is not None and len(features.triggered):
        is_other = labels != target_index
        clean, triggered = features.image[is_other], features.triggered[is_other]
        result["trigger_pull"] = trigger_pull(clean, triggered, target=features.prompt[target_index])
        result["silhouette"] = silhouette(torch.cat([clean, triggered]), torch.arange(2).repeat_interleave(len(clean)))
    return {name: value for name, value in result.items() if not math.isnan(value)}


def compute_feature_shifts(before: ModelFeatures, after: ModelFeatures) -> dict[str, list[float]]:
    """Return kind -> `feature_shift` of each item between two models."""
    shifts = {kind: feature_shift(getattr(before, kind), getattr(after, kind)).tolist() for kind in POINT_KINDS}
    return {kind: values for kind, values in shifts.items() if values}


def concatenate_features(stages: Sequence[ModelFeatures]) -> Tensor:
    """Return the features of several models, model after model, each in the order of `POINT_KINDS`."""
    return torch.cat([getattr(stage, kind) for stage in stages for kind in POINT_KINDS])
