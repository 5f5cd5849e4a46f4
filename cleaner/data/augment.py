"""Augmented views of images for the in-modal loss; a view is a function of (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode
from torchvision.transforms import functional as TF

from cleaner.config import AUGMENTATIONS
from cleaner.data.base import validate_choice
from cleaner.seed import derive_seed, numpy_generator


def augment(images: Tensor, policy: str, seed: int, epoch: int, indices: Sequence[int]) -> Tensor:
    """Return an augmented copy of `images`, (N, 3, H, W) in [0, 1], drawn per image.

    "autoaugment": torchvision's AutoAugment with the ImageNet policy (arXiv:1805.09501), as in CleanCLIP; it may invert
    and recolor. "gentle": small rotations, shear, translation, brightness, contrast, sharpness, blur; no flip and no
    change of hue, so captions stay true. "crops": shifted by up to an eighth, half of them mirrored, so left and right
    in a caption may become false. "none": a plain copy.
    """
    validate_choice("augmentation", policy, AUGMENTATIONS)
    if policy == "none":
        return images.clone()
    views = torch.empty_like(images)
    if policy in CUSTOM_POLICIES:
        for i, index in enumerate(indices):
            views[i] = CUSTOM_POLICIES[policy](images[i], numpy_generator("augment", seed, epoch, index))
        return views
    transform = _autoaugment()
    # AutoAugment draws from torch's global generator and needs uint8.
    pixels = (images * 255).round().to(torch.uint8)
    with torch.random.fork_rng(devices=[]):
        for i, index in enumerate(indices):
            # Not torch.manual_seed: it formats a stack trace per unused device type, half of the time spent here.
            torch.default_generator.manual_seed(derive_seed("augment", seed, epoch, index))
            views[i] = transform(pixels[i]).float() / 255
    return views


@cache
def _autoaugment() -> AutoAugment:
    """Return torchvision's AutoAugment with a cached table of magnitudes (otherwise built per image)."""
    transform = AutoAugment(AutoAugmentPolicy.IMAGENET, interpolation=InterpolationMode.BILINEAR)
    transform._augmentation_space = lru_cache(maxsize=8)(transform._augmentation_space)
    return transform


def _gentle(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Return a slightly changed copy of an image (3, H, W)."""
    uniform = rng.uniform
    side = image.shape[-1]
    shift = [round(uniform(-0.1, 0.1) * side) for _ in range(2)]
    view: Tensor = TF.affine(
        image,
        angle=uniform(-15, 15),
        translate=shift,
        scale=1.0,
        shear=[uniform(-8, 8), 0.0],
        interpolation=InterpolationMode.BILINEAR,
        fill=image.mean(dim=(1, 2)).tolist(),
    )
    view = TF.adjust_brightness(view, uniform(0.7, 1.3))
    view = TF.adjust_contrast(view, uniform(0.7, 1.3))
    view = TF.adjust_sharpness(view, uniform(0.5, 1.5))
    if uniform(0, 1) < 0.3:
        view = TF.gaussian_blur(view, kernel_size=[3, 3], sigma=[uniform(0.3, 1.0)] * 2)
    return view


def _crop(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Return an image (3, H, W) shifted by up to an eighth with reflected edges, half of them flipped."""
    side = image.shape[-1]
    margin = side // 8
    top, left = rng.integers(0, 2 * margin + 1, size=2)
    view = F.pad(image[None], (margin,) * 4, mode="reflect")[0, :, top : top + side, left : left + side]
    return view.flip(-1) if rng.random() < 0.5 else view


CUSTOM_POLICIES = {"gentle": _gentle, "crops": _crop}
"""Our own policies: image and generator -> view."""
