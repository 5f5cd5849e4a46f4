"""Augmented views of pictures for the in-modal loss; stateless: a view is a function of (seed, epoch, index)."""

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
from cleaner.seed import derive_seed, numpy_generator
from cleaner.types import CleanerError


def augment(images: Tensor, policy: str, seed: int, epoch: int, indices: Sequence[int]) -> Tensor:
    """Return an augmented copy of `images`, (N, 3, H, W) in [0, 1], drawn per picture.

    "autoaugment": torchvision's AutoAugment with the ImageNet policy (arXiv:1805.09501), as CleanCLIP; it may
    invert and recolour. "gentle": small rotations, shear, translation, brightness, contrast, sharpness, blur; no
    flip and no change of hue, so that a caption stays true. "crops": moved by up to an eighth, and mirrored in half of
    the cases, so that left and right in a caption may be wrong. "none": a plain copy.
    """
    if policy not in AUGMENTATIONS:
        raise CleanerError(f"the augmentation must be one of {', '.join(AUGMENTATIONS)}, not {policy!r}.")
    if policy == "none":
        return images.clone()
    views = torch.empty_like(images)
    if policy in CUSTOM_POLICIES:
        for i, index in enumerate(indices):
            views[i] = CUSTOM_POLICIES[policy](images[i], numpy_generator("augment", seed, epoch, index))
        return views
    transform = _autoaugment()
    # AutoAugment draws from torch's global generator and works on bytes.
    pixels = (images * 255).round().to(torch.uint8)
    with torch.random.fork_rng(devices=[]):
        for i, index in enumerate(indices):
            # Not torch.manual_seed: for each kind of GPU not in use it writes a stack trace, half of the time here.
            torch.default_generator.manual_seed(derive_seed("augment", seed, epoch, index))
            views[i] = transform(pixels[i]).float() / 255
    return views


@cache
def _autoaugment() -> AutoAugment:
    """Return torchvision's AutoAugment, which here makes its table of magnitudes once, not for every picture."""
    transform = AutoAugment(AutoAugmentPolicy.IMAGENET, interpolation=InterpolationMode.BILINEAR)
    transform._augmentation_space = lru_cache(maxsize=8)(transform._augmentation_space)
    return transform


def _gentle(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Return a gently changed copy of a picture (3, H, W)."""
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
    """Return a picture (3, H, W) moved by up to an eighth, its edge mirrored outwards, and half of the time flipped."""
    side = image.shape[-1]
    most = side // 8
    top, left = rng.integers(0, 2 * most + 1, size=2)
    view = F.pad(image[None], (most,) * 4, mode="reflect")[0, :, top : top + side, left : left + side]
    return view.flip(-1) if rng.random() < 0.5 else view


CUSTOM_POLICIES = {"gentle": _gentle, "crops": _crop}
"""Policies that are not torchvision's: picture and generator -> view."""
