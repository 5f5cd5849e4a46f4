"""Similarities of images and texts in one model: cosines, and the best classes of an image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cleaner.data.base import CaptionData
from cleaner.evaluation.encode import Encoder
from cleaner.models.clip import Clip


def text_feature(clip: Clip, text: str) -> Tensor:
    """Return the unit feature (D,) of a text."""
    with torch.no_grad():
        return clip.encode_text([text])[0]


def compute_similarities(clip: Clip, images: Tensor, texts: Sequence[str]) -> list[list[float]]:
    """Return for each image (N, 3, H, W) in [0, 1] its cosine with each text."""
    encoder = Encoder(clip)
    cosines: list[list[float]] = (encoder.encode_image(images) @ encoder.encode_texts(list(texts)).T).tolist()
    return cosines


@torch.inference_mode()
def best_classes(
    clip: Clip, data: CaptionData, images: Tensor, k: int = 5, classifier: Tensor | None = None
) -> list[list[tuple[str, float, float]]]:
    """Return for each image its k best (class, probability, cosine); `classifier` (D, C): for other prompts."""
    encoder = Encoder(clip)
    scores = encoder.encode_image(images) @ (encoder.build_classifier(data) if classifier is None else classifier)
    probabilities = (clip.logit_scale.cpu() * scores).softmax(dim=1)
    top = scores.topk(min(k, scores.shape[1]), dim=1)
    return [
        [(data.class_names[i], probabilities[row, i].item(), value) for i, value in zip(ids, values, strict=True)]
        for row, (ids, values) in enumerate(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    ]
