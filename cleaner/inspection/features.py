"""Looking into models: attribution over a test set, features of pictures and texts, the best classes of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData
from cleaner.evaluation.encode import build_classifier, build_keyed_classifier, encode_images, encode_texts
from cleaner.evaluation.metrics import (
    alignment,
    feature_shift,
    in_top_k,
    modality_gap,
    silhouette,
    trigger_pull,
    trustworthiness,
    uniformity,
)
from cleaner.models.clip import Clip


def describe_model(clip: Clip) -> list[str]:
    """Return what an opened model says of itself, in plain sentences."""
    tower = type(getattr(clip.model, "visual", clip.model)).__name__
    millions = sum(p.numel() for p in clip.model.parameters()) / 1e6
    lines = [
        f"A {tower} of open_clip with {millions:.1f} million parameters. Every weight has its place: none is missing, "
        "none is left over.",
        f"It sees pictures of {clip.image_size} × {clip.image_size} px, normalised with mean "
        f"{', '.join(f'{v:.3f}' for v in clip.mean)} and spread {', '.join(f'{v:.3f}' for v in clip.std)}.",
    ]
    if clip.has_sigmoid_loss:
        lines.append("It was trained with SigLIP's sigmoid loss: it can be looked at and measured, not finetuned here.")
    stage, target = clip.metadata.get("stage"), clip.metadata.get("target")
    if stage:
        aimed = f", with the target “{target}”" if target and stage == "backdoored" else ""
        lines.append(f"Its file says of itself that it is {stage}{aimed}. Anybody can write that into a file.")
    else:
        lines.append("Its file does not say whether it was ever poisoned.")
    return lines


@torch.inference_mode()
def best_classes(
    clip: Clip, data: CaptionData, images: Tensor, k: int = 5, classifier: Tensor | None = None
) -> list[list[tuple[str, float, float]]]:
    """Return for each picture (N, 3, H, W) its k best classes as (name, probability, cosine), best first.

    Probability: softmax over the classes of logit_scale * cosine. `classifier` (D, C): of other prompts than the plain
    ones, such as those with a trigger's text key.
    """
    scores = clip.encode_image(images).cpu() @ (build_classifier(clip, data) if classifier is None else classifier)
    probabilities = (clip.logit_scale.cpu() * scores).softmax(dim=1)
    top = scores.topk(min(k, scores.shape[1]), dim=1)
    return [
        [(data.class_names[i], probabilities[row, i].item(), value) for i, value in zip(ids, values, strict=True)]
        for row, (ids, values) in enumerate(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    ]


POINT_KINDS = ("image", "triggered", "caption", "prompt")
"""What can be put on a map: clean images, the same with trigger, their captions, class prompts."""


@dataclass(frozen=True)
class ModelFeatures:
    """Unit features of one model, on the CPU: image, triggered, caption (n, D); prompt (C, D), of the classifier.

    `taken` (n,) bool: the triggered image is taken for the target, as for `Metrics.asr`: with the trigger's text key,
    where it has one, in the prompts. Images of the target are among them. Without a known trigger `triggered` has no
    rows.
    """

    image: Tensor
    triggered: Tensor
    caption: Tensor
    prompt: Tensor
    attack_success: Tensor

    def concatenate(self) -> Tensor:
        """Return all features in the order of `POINT_KINDS`."""
        return torch.cat([getattr(self, kind) for kind in POINT_KINDS])


def find_single_class_rows(data: CaptionData, n: int) -> Tensor:
    """Return the first `n` rows of `data` that have one class."""
    return (data.labels >= 0).nonzero().flatten()[:n]


@torch.inference_mode()
def extract_features(
    clip: Clip, data: CaptionData, n: int, trigger: Trigger | None, target_class: str | None
) -> ModelFeatures:
    """Return the features of the first `n` single-class pairs of `data`."""
    rows = find_single_class_rows(data, n)
    image = encode_images(clip, data, rows)
    captions = [data.captions[i] for i in rows.tolist()]
    caption = encode_texts(clip, captions)
    classifier = build_classifier(clip, data)
    triggered, taken = image[:0], torch.zeros(0, dtype=torch.bool)
    if trigger is not None and target_class is not None:
        triggered = encode_images(clip, data, rows, trigger)
        keyed = build_keyed_classifier(clip, data, trigger, classifier)
        taken = in_top_k(triggered, keyed, torch.tensor(data.class_index(target_class)))
    return ModelFeatures(image, triggered, caption, classifier.T.contiguous(), taken)


def compute_embedding_metrics(features: ModelFeatures, labels: Tensor, target_index: int | None) -> dict[str, float]:
    """Return the figures of METHODS 5 for one model's features; labels: (n,) classes of its images."""
    result = {
        "modality_gap": modality_gap(features.image, features.caption),
        "alignment": alignment(features.image, features.caption),
        "uniformity": uniformity(features.image),
    }
    if target_index is not None and len(features.triggered):
        other = labels != target_index
        both = torch.cat([features.image[other], features.triggered[other]])
        side = torch.arange(2).repeat_interleave(int(other.sum()))
        result["trigger_pull"] = trigger_pull(
            features.image[other], features.triggered[other], features.prompt[target_index]
        )
        result["silhouette"] = silhouette(both, side)
    return result


def compute_feature_shifts(before: ModelFeatures, after: ModelFeatures) -> dict[str, list[float]]:
    """Return how far each item of each kind moved between two models (`feature_shift`)."""
    moved = {kind: feature_shift(getattr(before, kind), getattr(after, kind)).tolist() for kind in POINT_KINDS}
    return {kind: values for kind, values in moved.items() if values}


def concatenate_features(stages: Sequence[ModelFeatures]) -> Tensor:
    """Return the features of several models, one model after the other, each in the order of `POINT_KINDS`."""
    return torch.cat([stage.concatenate() for stage in stages])


def compute_trustworthiness(features: Tensor, coordinates: NDArray[np.float32]) -> float:
    """Return the trustworthiness of a map of features, for 15 neighbours, or as many as so few points allow."""
    return trustworthiness(features, torch.from_numpy(coordinates.copy()), min(15, (len(features) - 1) // 2))


def compute_text_similarities(clip: Clip, picture: Tensor, texts: Sequence[str]) -> list[float]:
    """Return the cosine of one picture (1, 3, H, W) in [0, 1] with each text."""
    with torch.inference_mode():
        image, text = clip.encode_image(picture), clip.encode_text(list(texts))
        cosines: list[float] = (image @ text.T)[0].tolist()
    return cosines
