"""How much an evaluation has to encode, and how long that takes."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData
from cleaner.evaluation.attack import CROSS_IMAGES, GALLERY_SIZE
from cleaner.evaluation.encode import Encoder
from cleaner.evaluation.evaluate import COUNTERFACTUAL_PAIRS, NEGATIVES
from cleaner.models.clip import Clip

SAMPLED_IMAGES, SAMPLED_PROMPTS = 8, 32


@dataclass(frozen=True)
class EvaluationCount:
    """Images, class prompts and captions that an evaluation encodes, if none of them is stored."""

    images: int
    prompts: int
    captions: int

    @classmethod
    def of(
        cls, clip: Clip, data: CaptionData, trigger: Trigger | None, *, models: int = 1, templates: int | None = None
    ) -> EvaluationCount:
        """Return the count for the labeled images of `data`; models: 2 if the floor is measured too."""
        labeled, encoder = int((data.labels >= 0).sum()), Encoder(clip, templates)
        prompts = len(data.class_names) * len(encoder.choose_templates(data))
        captions = min(len(data), COUNTERFACTUAL_PAIRS) * (1 + NEGATIVES)
        sets, images = 1, labeled  # sets of class prompts: with and without key, by each model that needs them
        if trigger is not None and "image" in trigger.modalities:
            sets = models + ("text" in trigger.modalities)
            captions += min(len(data), GALLERY_SIZE)
            images += labeled * models + (min(labeled, CROSS_IMAGES) if trigger.is_input_aware else 0)
        elif trigger is not None:  # clean images by each model; captions without key, and with it for each model
            captions += labeled * (1 + models)
            images += labeled * (models - 1)
        return cls(images, prompts * sets, captions)

    def seconds(self, per_image: float, per_text: float) -> float:
        """Return the seconds of the evaluation."""
        return self.images * per_image + (self.prompts + self.captions) * per_text


@torch.inference_mode()
def time_encoding(clip: Clip, data: CaptionData, images: int, prompts: int) -> tuple[float, float]:
    """Return the seconds per image and per text, measured on the first `images` and on some class prompts."""
    pixels, start = data.with_transform(clip.framing).images(range(min(images, len(data)))), time.perf_counter()
    clip.encode_image(pixels).cpu()
    per_image = (time.perf_counter() - start) / len(pixels)
    templates, names = Encoder(clip).choose_templates(data), data.class_names or [""]
    texts = [templates[i % len(templates)].format(names[i % len(names)]) for i in range(prompts)]
    start = time.perf_counter()
    clip.encode_text(texts).cpu()
    return per_image, (time.perf_counter() - start) / len(texts)


def predict_evaluation(
    clip: Clip, data: CaptionData, trigger: Trigger | None, *, models: int = 1, templates: int | None = None
) -> float:
    """Return the seconds that an evaluation will take, from a measured sample of images and prompts."""
    count = EvaluationCount.of(clip, data, trigger, models=models, templates=templates)
    return count.seconds(*time_encoding(clip, data, SAMPLED_IMAGES, SAMPLED_PROMPTS))
