"""How much an evaluation has to encode, and how long that takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData
from cleaner.evaluation.attack import CROSS_IMAGES, GALLERY_SIZE
from cleaner.evaluation.encode import Encoder
from cleaner.evaluation.evaluate import draw_counterfactuals
from cleaner.models.clip import Clip

SAMPLED_IMAGES, SAMPLED_PROMPTS, SAMPLED_CAPTIONS = 8, 128, 64
STORE_SAMPLE = 16
"""Images that are looked up in the feature store, to estimate how many are there."""


@dataclass(frozen=True)
class EvaluationCount:
    """Images, class prompts and different captions that an evaluation encodes, if none of them is stored."""

    images: int
    prompts: int
    captions: int

    @classmethod
    def of(
        cls,
        clip: Clip,
        data: CaptionData,
        trigger: Trigger | None,
        *,
        models: int = 1,
        templates: int | None = None,
        counterfactual: bool = True,
    ) -> EvaluationCount:
        """Return the count for the labeled images of `data`; models: 2 if the floor is measured too."""
        labeled, encoder = int((data.labels >= 0).sum()), Encoder(clip, templates)
        prompts = len(data.class_names) * len(encoder.choose_templates(data))
        captions = len(set(_list_counterfactuals(data))) if counterfactual else 0
        sets, images = 1, labeled  # sets of class prompts: with and without key, by each model that needs them
        if trigger is not None and "image" in trigger.modalities:
            sets = models + ("text" in trigger.modalities)
            captions += len(set(data.captions[:GALLERY_SIZE]))
            images += labeled * models + (min(labeled, CROSS_IMAGES) if trigger.is_input_aware else 0)
        elif trigger is not None:  # clean images by each model; captions without key, and with it for each model
            captions += len({data.captions[i] for i in data.labeled_rows().tolist()}) * (1 + models)
            images += labeled * (models - 1)
        return cls(images, prompts * sets, captions)

    def seconds(self, per_image: float, per_prompt: float, per_caption: float) -> float:
        """Return the seconds of the evaluation."""
        return self.images * per_image + self.prompts * per_prompt + self.captions * per_caption


@torch.inference_mode()
def time_encoding(
    clip: Clip, data: CaptionData, images: int, prompts: int, captions: int
) -> tuple[float, float, float]:
    """Return the seconds per image, class prompt and caption, measured on this many of each."""
    pixels, start = data.with_transform(clip.framing).images(range(min(images, len(data)))), time.perf_counter()
    clip.encode_image(pixels).cpu()
    per_image = (time.perf_counter() - start) / len(pixels)
    encoder = Encoder(clip, use_store=False)
    templates, names = encoder.choose_templates(data), data.class_names or [""]
    names = names[: max(1, encoder.text_batch // len(templates))]
    texts = [template.format(name) for template in templates[: -(-prompts // len(names))] for name in names]
    return per_image, _time_texts(encoder, texts), _time_texts(encoder, data.captions[:captions])


def _time_texts(encoder: Encoder, texts: Sequence[str]) -> float:
    """Return the seconds per text; equal ones are encoded once."""
    start = time.perf_counter()
    encoder.encode_texts(texts)
    return (time.perf_counter() - start) / len(set(texts))


def _list_counterfactuals(data: CaptionData) -> list[str]:
    """Return the captions and false captions of counterfactual accuracy."""
    indices, negatives = draw_counterfactuals(data)
    return [*(data.captions[i] for i in indices), *(negative.text for row in negatives for negative in row)]


def predict_evaluation(
    clip: Clip,
    data: CaptionData,
    trigger: Trigger | None,
    *,
    clean_clip: Clip | None = None,
    templates: int | None = None,
) -> float:
    """Return the seconds an evaluation will take, from a sample; what is in the feature store is free."""
    models = [clip] if clean_clip is None or trigger is None else [clip, clean_clip]
    count = EvaluationCount.of(clip, data, trigger, models=len(models), templates=templates)
    encoders = [Encoder(model, templates) for model in models]
    labeled = data.labeled_rows()
    rows = labeled[:: max(len(labeled) // STORE_SAMPLE, 1)]  # an evaluation that was stopped has stored the first ones
    images = data.with_transform(clip.framing).images(rows)
    stored = [encoders[0].share_of_stored_images(images)]
    prompts = [encoders[0].share_of_stored_prompts(data, None)]
    captions, text_encoder = _list_counterfactuals(data), encoders[0]
    if trigger is not None and "image" in trigger.modalities:
        triggered, keyed = trigger(images), trigger if "text" in trigger.modalities else None
        prompts += [e.share_of_stored_prompts(data, keyed) for e in (encoders if keyed else encoders[1:])]
        stored += [encoder.share_of_stored_images(triggered) for encoder in encoders]
    elif trigger is not None:
        captions, text_encoder = [trigger.text(data.captions[i]) for i in labeled.tolist()], encoders[-1]
    missing = EvaluationCount(
        round(count.images * (1 - sum(stored) / len(stored))),
        round(count.prompts * (1 - sum(prompts) / len(prompts))),
        round(count.captions * (1 - text_encoder.share_of_stored_texts(captions))),
    )
    return missing.seconds(*time_encoding(clip, data, SAMPLED_IMAGES, SAMPLED_PROMPTS, SAMPLED_CAPTIONS))
