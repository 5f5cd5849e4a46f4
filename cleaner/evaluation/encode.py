"""Encoding for an evaluation: features of images and texts, and zero-shot classifiers, all on the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData
from cleaner.models.classifier import zero_shot_classifier
from cleaner.models.clip import Clip
from cleaner.models.lanes import encode_in_halves
from cleaner.types import CleanerError, OnStep, StepReport

EVAL_BATCH_SIZE = 256
TEXT_BATCH_SIZE = 1024
CLASSES_HELP = "choose other test data, or name the classes with classes=FILE or classes=a,b,c."


def encode_texts(clip: Clip, texts: Sequence[str]) -> Tensor:
    """Return unit features (N, D) of texts, on the CPU."""
    batches = [texts[i : i + TEXT_BATCH_SIZE] for i in range(0, len(texts), TEXT_BATCH_SIZE)]
    with torch.inference_mode():
        return torch.cat([encode_in_halves(clip.encode_text, batch).cpu() for batch in batches])


def build_classifier(clip: Clip, data: CaptionData) -> Tensor:
    """Return the zero-shot classifier (D, C), on the CPU, with the model's templates or, without any, the data's."""
    return _classifier_from_prompts(clip, data, str)


def build_keyed_classifier(clip: Clip, data: CaptionData, trigger: Trigger, plain: Tensor | None = None) -> Tensor:
    """Return the zero-shot classifier (D, C) whose prompts contain the trigger's text key, if it has one.

    plain: the classifier without key, if it is already computed.
    """
    # Without a key the prompts are the same, and ImageNet has 80,000.
    if plain is not None and "text" not in trigger.modalities:
        return plain
    return _classifier_from_prompts(clip, data, trigger.text)


def _classifier_from_prompts(clip: Clip, data: CaptionData, rewrite_prompt: Callable[[str], str]) -> Tensor:
    if not data.class_names:
        raise CleanerError(f"{data.name or 'the data'} has no class names: {CLASSES_HELP}")
    templates = clip.templates or data.templates
    prompts = [rewrite_prompt(template.format(name)) for name in data.class_names for template in templates]
    features = encode_texts(clip, prompts)
    return zero_shot_classifier(features.view(len(data.class_names), len(templates), -1))


def encode_images(clip: Clip, data: CaptionData, rows: Tensor, trigger: Trigger | None = None) -> Tensor:
    """Return unit features (N, D), on the CPU, of the images at `rows`, with the trigger if there is one."""
    with torch.inference_mode():
        batches = (images for _, images in prefetch_batches(data.with_transform(clip.framing), rows))
        return torch.cat([encode_in_halves(clip.encode_image, trigger(b) if trigger else b).cpu() for b in batches])


def prefetch_batches(data: CaptionData, rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the number, from 1, and the images of each batch, while the next batch is read in the background."""
    batches = rows.split(EVAL_BATCH_SIZE)
    for number, batch in enumerate(batches, start=1):
        images = data.images(batch)
        if number < len(batches):
            data.prefetch(batches[number])
        yield number, images


def encode_clean_and_triggered(
    models: list[Clip], data: CaptionData, rows: Tensor, trigger: Trigger | None, on_step: OnStep | None
) -> tuple[Tensor, list[Tensor]]:
    """Return features (N, D) of the clean images by the first model, and of the triggered ones by each model."""
    clean: list[Tensor] = []
    triggered: list[list[Tensor]] = [[] for _ in models]
    total = len(rows.split(EVAL_BATCH_SIZE))
    start = time.perf_counter()
    for done, images in prefetch_batches(data, rows):
        clean.append(encode_in_halves(models[0].encode_image, images).cpu())
        if trigger is not None:
            triggered_images = trigger(images)
            for model, features in zip(models, triggered, strict=True):
                features.append(encode_in_halves(model.encode_image, triggered_images).cpu())
        if on_step is not None:
            on_step(StepReport("evaluate", done, total, time.perf_counter() - start))
    return torch.cat(clean), [torch.cat(features) for features in triggered] if trigger is not None else []
