"""Corrupted photos: six corruptions of CIFAR-10-C (arXiv:1903.12261) at severity 3, with its parameters."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as TF

from cleaner.data.base import CaptionData, Indices, Subset, to_rows, validate_choice
from cleaner.models.framing import ImageTransform
from cleaner.seed import numpy_generator


def _add_gaussian_noise(image: Tensor, rng: np.random.Generator) -> Tensor:
    return image + torch.from_numpy(rng.normal(scale=0.08, size=image.shape)).float()


def _add_shot_noise(image: Tensor, rng: np.random.Generator) -> Tensor:
    photons = 100
    return torch.from_numpy(rng.poisson(image.numpy() * photons) / photons).float()


def _blur(image: Tensor, rng: np.random.Generator) -> Tensor:
    blurred: Tensor = TF.gaussian_blur(image, kernel_size=[7, 7], sigma=[0.7, 0.7])
    return blurred


def _reduce_contrast(image: Tensor, rng: np.random.Generator) -> Tensor:
    mean = image.mean(dim=(1, 2), keepdim=True)
    return (image - mean) * 0.4 + mean


def _brighten(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Add to the value of HSV, the largest channel; hue and saturation stay."""
    value = image.amax(dim=0, keepdim=True)
    brighter = (value + 0.15).clamp(max=1)
    return torch.where(value > 0, image / value.clamp(min=1e-6), 1.0) * brighter


def _compress(image: Tensor, rng: np.random.Generator) -> Tensor:
    pixels = image.mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=58)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255


CORRUPTIONS: dict[str, Callable[[Tensor, np.random.Generator], Tensor]] = {
    "gaussian_noise": _add_gaussian_noise,
    "shot_noise": _add_shot_noise,
    "gaussian_blur": _blur,
    "contrast": _reduce_contrast,
    "brightness": _brighten,
    "jpeg_compression": _compress,
}
"""CIFAR-10-C's name -> image (3, H, W) in [0, 1] and generator -> corrupted image, not yet clipped."""


def corrupt(image: Tensor, kind: str, index: int) -> Tensor:
    """Return a corrupted copy of an image (3, H, W) in [0, 1], in 8 bits; noise is a function of kind and index."""
    validate_choice("corruption", kind, CORRUPTIONS)
    view = CORRUPTIONS[kind](image, numpy_generator("corruption", kind, index))
    return view.clamp(0, 1).mul(255).round().div(255)


class Corrupted(Subset):
    """The same pairs with corrupted images, at `side` px; CIFAR-10-C's parameters are for 32."""

    def __init__(self, base: CaptionData, kind: str, side: int = 32) -> None:
        validate_choice("corruption", kind, CORRUPTIONS)
        super().__init__(base.with_transform(ImageTransform(side)), range(len(base)))
        self.kind, self.image_size, self.name = kind, side, f"{base.name} {kind}"

    def images(self, indices: Indices) -> Tensor:
        rows = to_rows(indices, len(self))
        images = super().images(rows)
        if len(images) == 0:
            return images
        return torch.stack([corrupt(image, self.kind, row) for image, row in zip(images, rows.tolist(), strict=True)])

    with_transform = CaptionData.with_transform  # not the subset's: images are corrupted at `side` px, then resized
