"""What a trigger does to uses of a model that `evaluate` does not measure: retrieval of images, and a linear probe."""

from __future__ import annotations

import torch
from torch import Tensor

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData
from cleaner.evaluation.encode import Encoder
from cleaner.models.clip import Clip
from cleaner.types import OnStep

IMAGE_RETRIEVAL, LINEAR_PROBE = "Retrieval of images", "Linear probe"
NEAREST = 10
"""Images that a text retrieves."""
MIN_IMAGES = 4
"""Fewest labeled images of each half."""
Shares = tuple[float, float] | None
"""Success with the trigger and without it, 0..1; None: not measured."""


def measure_image_uses(
    clip: Clip, data: CaptionData, trigger: Trigger, name: str, on_step: OnStep | None = None
) -> dict[str, Shares]:
    """Return the success of a trigger toward the class `name` in two uses of the image tower.

    The trigger is on every second labeled image, unless it is of the target. Image retrieval: share of these among the
    `NEAREST` of all images to the target's prompt. Linear probe: a logistic regression is fit on the features of the
    other half; share of the triggered images that it assigns to the target.
    """
    encoder, rows, target = Encoder(clip, on_step=on_step), data.labeled_rows(), data.class_index(name)
    fitted, tested = rows[::2], rows[1::2]
    tested = tested[data.labels[tested] != target]
    if min(len(fitted), len(tested)) < MIN_IMAGES:
        return dict.fromkeys((IMAGE_RETRIEVAL, LINEAR_PROBE))
    others = encoder.encode_rows(data, fitted)
    triggered, clean = encoder.encode_rows(data, tested, trigger), encoder.encode_rows(data, tested)
    prompt = encoder.build_classifier(data, classes=[target]).squeeze(1)
    return {
        IMAGE_RETRIEVAL: (share_retrieved(prompt, triggered, others), share_retrieved(prompt, clean, others)),
        LINEAR_PROBE: probe(others, data.labels[fitted], (triggered, clean), target),
    }


def share_retrieved(text: Tensor, images: Tensor, others: Tensor, k: int = NEAREST) -> float:
    """Return the share of `images` (N, D) among the k nearest of these and of `others` (M, D) to a text (D,).

    At most N can be among them, and with N < k the share is of N.
    """
    scores = torch.cat([images, others]) @ text
    found = scores.topk(min(k, len(scores))).indices < len(images)
    return float(found.sum()) / min(k, len(images))


def probe(features: Tensor, labels: Tensor, tested: tuple[Tensor, Tensor], target: int) -> Shares:
    """Return the share of each group (N, D) that a logistic regression on features (M, D) assigns to the target.

    None if there are fewer than two classes, or none of the target.
    """
    from sklearn.linear_model import LogisticRegression

    if labels.unique().numel() < 2 or not (labels == target).any():
        return None
    model = LogisticRegression(C=100.0, max_iter=500).fit(features.numpy(), labels.numpy())  # weak: unit features
    with_trigger, without = (float((model.predict(group.numpy()) == target).mean()) for group in tested)
    return with_trigger, without
