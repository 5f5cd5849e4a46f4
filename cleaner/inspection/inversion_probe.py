"""A model as a zero-shot classifier of unlabeled images, through which gradients flow back to the pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cleaner.data.base import CaptionData
from cleaner.evaluation.encode import Encoder, prefetch_batches, require_finite
from cleaner.models.clip import Clip
from cleaner.seed import numpy_generator
from cleaner.types import CleanerError, OnStep, start_progress

PASS_IMAGES, FULL_SIZE_PASS_IMAGES = 256, 32
"""Most images of a pass with gradients; those of a full-size model take 30 MB each."""


@dataclass(frozen=True)
class Probe:
    """Images of one model and what it takes them for.

    Attributes:
        pixels: (N, 3, H, W) uint8, as the model sees them.
        classifier: W (D, C); predicted: (N,) class of each image without a trigger.
    """

    clip: Clip
    pixels: Tensor
    classifier: Tensor
    predicted: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def pass_images(self) -> int:
        """Most images of a pass with gradients."""
        return FULL_SIZE_PASS_IMAGES if self.clip.is_full_size else PASS_IMAGES

    def images(self, rows: Tensor) -> Tensor:
        """Return images (n, 3, H, W) in [0, 1] on the model's device."""
        return self.pixels[rows].to(self.clip.device).float() / 255

    def classify(self, features: Tensor) -> Tensor:
        """Return the class (n,) of features (n, D)."""
        return (features.detach() @ self.classifier).argmax(dim=1)

    def count(self, change: Callable[[Tensor], Tensor], index: int, on_step: OnStep | None = None) -> int:
        """Return how many images are classified as a class once they are changed; `on_step` receives "images"."""
        encoder, hits = Encoder(self.clip, use_store=False), 0  # no image comes again
        report = start_progress(on_step, "images", len(self))
        for rows in torch.arange(len(self)).split(encoder.image_batch):
            features = encoder.encode_image(change(self.images(rows).cpu()))
            hits += int(((features @ self.classifier.cpu()).argmax(dim=1) == index).sum())
            report(int(rows[-1]) + 1)
        return hits

    def subset(self, rows: slice) -> Probe:
        return Probe(self.clip, self.pixels[rows], self.classifier, self.predicted[rows])

    def others(self, index: int) -> Probe:
        """Return the images that the model does not take for a class."""
        keep = self.predicted != index
        return Probe(self.clip, self.pixels[keep], self.classifier, self.predicted[keep])


def make_probe(clip: Clip, data: CaptionData, n: int, on_step: OnStep | None) -> Probe:
    """Return the probe of `n` images in random order; `on_step` receives "prompts" and "images"."""
    if len(data.class_names) < 2:
        raise CleanerError("trigger inversion compares classes: name at least two (classes=FILE or classes=a,b,c).")
    data = data.with_transform(clip.framing)
    # Files are often sorted by class, but the images that measure the result must be like those that are searched.
    rows = torch.from_numpy(numpy_generator("inversion images").permutation(len(data))[:n])
    if not len(rows):
        raise CleanerError(f"{data.name or 'the data'} has no images: choose other data.")
    encoder = Encoder(clip, on_step=on_step)
    classifier = encoder.build_classifier(data)
    pixels, predicted, done, report = [], [], 0, start_progress(on_step, "images", len(rows))
    for images in prefetch_batches(data, rows, encoder.image_batch):
        scores = require_finite(encoder.encode_image(images) @ classifier)
        pixels.append((images * 255).round().to(torch.uint8))
        predicted.append(scores.argmax(dim=1))
        done += len(images)
        report(done)
    # Tensors of inference mode carry no gradient.
    return Probe(encoder.clip, torch.cat(pixels), classifier.clone().to(clip.device), torch.cat(predicted).clone())
