"""Encoding for an evaluation: features of images and texts, and zero-shot classifiers, all on the CPU."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData
from cleaner.data.poison import apply_trigger
from cleaner.evaluation.feature_store import FeatureStore
from cleaner.models.architectures import FEW_TEMPLATES, TEMPLATE_SETS
from cleaner.models.classifier import zero_shot_classifier
from cleaner.models.clip import Clip
from cleaner.models.lanes import encode_in_halves
from cleaner.types import CleanerError, OnStep, start_progress

EVAL_BATCH_SIZE = 256
TEXT_BATCH_SIZE = 1024
SLOW_IMAGE_BATCH, SLOW_TEXT_BATCH = 16, 256
"""Batches of a full-size model on a CPU: a second or two each, so that progress shows and a cancel is heard."""
MAX_CPU_CLASSES = 100
"""Most classes that a CPU encodes with all 80 templates unless told to: 8,000 prompts take 20 s on ViT-B-32."""
T = TypeVar("T")
CLASSES_HELP = "choose other test data, or name the classes with classes=FILE or classes=a,b,c."


def require_finite(values: Tensor) -> Tensor:
    """Return features or scores as they are; raise `CleanerError` if one is not finite: argmax accepts NaN."""
    if not values.isfinite().all():
        raise CleanerError(
            "the features of this model are not finite (NaN): its weights are broken, choose another checkpoint."
        )
    return values


@dataclass(frozen=True)
class Encoder:
    """Encodes images and texts with one model, in batches that report progress.

    Attributes:
        templates: prompts per class, a key of `TEMPLATE_SETS`; None: those of the model or the data, but 7 instead of
            80 where a full-size model has more than `MAX_CPU_CLASSES` classes on a CPU.
        on_step: receives the stage "images", and "captions" and "prompts" where these take more than one batch.
        use_store: whether a full-size model may read and write the feature store; not for a model in training.
    """

    clip: Clip
    templates: int | None = None
    on_step: OnStep | None = None
    use_store: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "clip", self.clip.in_eval_mode())

    @cached_property
    def _store(self) -> FeatureStore | None:
        return FeatureStore(self.clip) if self.use_store and self.clip.is_full_size else None

    @property
    def _image_store(self) -> FeatureStore | None:
        return self._store if self.clip.is_slow else None  # a GPU encodes an image sooner than the CPU hashes it

    @property
    def image_batch(self) -> int:
        """Images per batch."""
        return SLOW_IMAGE_BATCH if self.clip.is_slow else EVAL_BATCH_SIZE

    @property
    def text_batch(self) -> int:
        """Texts per batch."""
        return SLOW_TEXT_BATCH if self.clip.is_slow else TEXT_BATCH_SIZE

    def encode_image(self, images: Tensor) -> Tensor:
        """Return unit features (N, D), on the CPU, of images (N, 3, H, W) in [0, 1] that fit in one batch."""
        with torch.inference_mode():
            if (store := self._image_store) is None:
                return self._encode_image(images)
            keys = [store.image_key(image) for image in images]
            known = store.read(keys)
            missing = [i for i, key in enumerate(keys) if key not in known]
            if missing:
                features = self._encode_image(images[missing])
                new = {keys[i]: feature for i, feature in zip(missing, features, strict=True)}
                store.write(new)
                known |= new
            return torch.stack([known[key] for key in keys])

    def encode_rows(self, data: CaptionData, rows: Tensor, trigger: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return unit features (N, D), on the CPU, of the images at `rows`, with the trigger if there is one."""
        features, report = [], start_progress(self.on_step, "images", len(rows))
        for images in prefetch_batches(data.with_transform(self.clip.framing), rows, self.image_batch):
            features.append(self.encode_image(trigger(images) if trigger else images))
            report(sum(map(len, features)))
        return torch.cat(features)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit features (N, D), on the CPU, of texts."""
        if self._store is not None:
            unique = {text: i for i, text in enumerate(dict.fromkeys(texts))}
            return self._encode_groups([[text] for text in unique], "captions")[[unique[text] for text in texts]]
        batches = _split(texts, self.text_batch)
        features, report = [], start_progress(self.on_step if len(batches) > 1 else None, "captions", len(batches))
        with torch.inference_mode():
            for done, batch in enumerate(batches, start=1):
                features.append(self._encode_text(batch))
                report(done)
        return torch.cat(features)

    def build_classifier(
        self,
        data: CaptionData,
        trigger: Trigger | None = None,
        classes: Sequence[int] | None = None,
        *,
        plain: Tensor | None = None,
    ) -> Tensor:
        """Return the zero-shot classifier (D, C) on the CPU; plain: that without the text key, if known."""
        # Without a key the prompts are the same, and ImageNet has 80,000.
        if plain is not None and (trigger is None or "text" not in trigger.modalities):
            return plain
        if not data.class_names:
            raise CleanerError(f"{data.name or 'the data'} has no class names: {CLASSES_HELP}")
        return self._encode_groups(self._list_prompts(data, trigger, classes), "prompts").T

    def _list_prompts(
        self, data: CaptionData, trigger: Trigger | None, classes: Sequence[int] | None = None
    ) -> list[list[str]]:
        """Return the prompts of each class."""
        templates = self.choose_templates(data)
        rewrite: Callable[[str], str] = str if trigger is None else trigger.text
        names = data.class_names if classes is None else [data.class_names[i] for i in classes]
        return [[rewrite(template.format(name)) for template in templates] for name in names]

    def choose_templates(self, data: CaptionData) -> tuple[str, ...]:
        """Return the prompts of the classes of `data`. Raises `CleanerError` for a number without a set."""
        if self.templates is not None:
            if self.templates not in TEMPLATE_SETS:
                raise CleanerError(f"templates must be {', '.join(map(str, TEMPLATE_SETS))}, not {self.templates}.")
            return TEMPLATE_SETS[self.templates]
        templates = self.clip.templates or data.templates
        is_costly = self.clip.is_slow and len(data.class_names) > MAX_CPU_CLASSES
        return FEW_TEMPLATES if is_costly and len(templates) > len(FEW_TEMPLATES) else templates

    def _encode_groups(self, groups: list[list[str]], stage: str) -> Tensor:
        """Return the mean feature (G, D) of each group of texts of one size; a cancel loses one batch."""
        keys = [self._store.text_key(group) for group in groups] if self._store else []
        known = self._store.read(keys) if self._store else {}
        missing = [i for i in range(len(groups)) if not keys or keys[i] not in known]
        batches = _split(missing, max(1, self.text_batch // len(groups[0]))) if groups else []
        encoded, done = [torch.empty(0)] * len(groups), 0
        size = len(groups[0]) if groups else 0
        report = start_progress(self.on_step if len(batches) > 1 else None, stage, len(missing) * size)
        with torch.inference_mode():
            for batch in batches:
                features = self._encode_text([text for i in batch for text in groups[i]])
                means = zero_shot_classifier(features.view(len(batch), len(groups[0]), -1)).T
                for i, mean in zip(batch, means, strict=True):
                    encoded[i] = mean
                if self._store:
                    self._store.write({keys[i]: encoded[i] for i in batch})
                done += len(batch)
                report(done * size)
        return torch.stack([known[keys[i]] if keys and keys[i] in known else encoded[i] for i in range(len(groups))])

    def _encode_image(self, images: Tensor) -> Tensor:
        return encode_in_halves(self.clip.encode_image, images).cpu()

    def _encode_text(self, texts: Sequence[str]) -> Tensor:
        encode = self.clip.encode_text_trees if self.clip.is_slow else self.clip.encode_text
        return encode_in_halves(encode, texts).cpu()


def _split(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def prefetch_batches(data: CaptionData, rows: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Yield the images of each batch, while the next batch is read in the background."""
    batches = rows.split(batch_size)
    for number, batch in enumerate(batches, start=1):
        images = data.images(batch)
        if number < len(batches):
            data.prefetch(batches[number])
        yield images


def encode_clean_and_triggered(
    encoders: list[Encoder], data: CaptionData, rows: Tensor, trigger: Trigger | None, on_step: OnStep | None
) -> tuple[Tensor, list[Tensor]]:
    """Return features (N, D) of the clean images by the first model, and of the triggered ones by each model."""
    clean: list[Tensor] = []
    triggered: list[list[Tensor]] = [[] for _ in encoders]
    batch_size = min(encoder.image_batch for encoder in encoders)
    report = start_progress(on_step, "evaluate", len(rows.split(batch_size)))
    for done, images in enumerate(prefetch_batches(data, rows, batch_size), start=1):
        clean.append(encoders[0].encode_image(images))
        if trigger is not None:
            triggered_images = apply_trigger(trigger, images)
            for encoder, features in zip(encoders, triggered, strict=True):
                is_known = encoder is encoders[0] and "image" not in trigger.modalities
                features.append(clean[-1] if is_known else encoder.encode_image(triggered_images))
        report(done)
    return torch.cat(clean), [torch.cat(features) for features in triggered] if trigger is not None else []
