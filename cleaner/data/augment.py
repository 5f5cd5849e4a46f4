"""Augmented views of images for the in-modal loss; a view is a function of (seed, epoch, index)."""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode
from torchvision.transforms import functional as TF
from torchvision.transforms.autoaugment import _apply_op

from cleaner.config import AUGMENTATIONS
from cleaner.data.base import validate_choice
from cleaner.seed import numpy_generator, torch_generator


def augment(images: Tensor, policy: str, seed: int, epoch: int, indices: Sequence[int]) -> Tensor:
    """Return an augmented copy of `images`, (N, 3, H, W) in [0, 1], drawn per image.

    "autoaugment": torchvision's AutoAugment with the ImageNet policy (arXiv:1805.09501), as in CleanCLIP; it may invert
    and recolor. There it changes the image of the file, with nearest-neighbor interpolation; here the resized and
    cropped one, bilinearly. It is applied to PIL images: much faster for small images than torchvision's operations on
    tensors, from which a view differs by rounding. "gentle": small rotations, shear, translation, brightness, contrast,
    sharpness, blur; no flip and no change of hue, so captions stay true. "crops": shifted by up to an eighth, half of
    them mirrored, so left and right in a caption may become false. "none": a plain copy.
    """
    validate_choice("augmentation", policy, AUGMENTATIONS)
    if policy == "none":
        return images.clone()
    views = torch.empty_like(images)
    if policy in CUSTOM_POLICIES:
        for i, index in enumerate(indices):
            views[i] = CUSTOM_POLICIES[policy](images[i], numpy_generator("augment", seed, epoch, index))
        return views
    pixels = torch.stack(images.mul(255).round_().to(torch.uint8).unbind(1), dim=-1).numpy()
    for i, index in enumerate(indices):
        pixels[i] = _autoaugment(pixels[i], torch_generator("augment", seed, epoch, index))
    return torch.stack(torch.from_numpy(pixels).unbind(-1), dim=1).float().div_(255)


def _autoaugment(pixels: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Return an `AutoAugment` view of (H, W, 3) uint8; torchvision's draws from the global generator."""
    transform = _build_autoaugment()
    policy = transform.policies[int(torch.randint(len(transform.policies), (1,), generator=generator))]
    probabilities = torch.rand(2, generator=generator).tolist()
    signs = torch.randint(2, (2,), generator=generator).tolist()
    space = _augmentation_space(pixels.shape[0], pixels.shape[1])
    for (name, probability, level), drawn, sign in zip(policy, probabilities, signs, strict=True):
        if drawn <= probability:
            magnitudes, is_signed = space[name]
            magnitude = 0.0 if level is None else magnitudes[level]
            signed = -magnitude if is_signed and sign == 0 else magnitude
            if name in TABLE_OPERATIONS:
                pixels = TABLE_OPERATIONS[name](pixels, signed)
            else:
                image = Image.fromarray(pixels)
                pixels = np.asarray(_apply_op(image, name, signed, interpolation=transform.interpolation, fill=None))
    return pixels


@cache
def _build_autoaugment() -> AutoAugment:
    return AutoAugment(AutoAugmentPolicy.IMAGENET, interpolation=InterpolationMode.BILINEAR)


@lru_cache(maxsize=8)
def _augmentation_space(height: int, width: int) -> dict[str, tuple[Any, bool]]:
    """Return operation -> (magnitude of each level, whether it has a sign), for images of this size."""
    space = _build_autoaugment()._augmentation_space(10, (height, width))
    return {name: (magnitudes.tolist(), is_signed) for name, (magnitudes, is_signed) in space.items()}


def _equalize(pixels: np.ndarray, _: float) -> np.ndarray:
    """Return what `ImageOps.equalize` does: a flat histogram of each channel."""
    channels = pixels.astype(np.intp) + 256 * np.arange(3)
    counts = np.bincount(channels.ravel(), minlength=3 * 256).reshape(3, 256)
    table = np.empty((3, 256), dtype=np.uint8)
    for row, count in zip(table, counts, strict=True):
        used = count[count > 0]
        step = (int(used.sum()) - int(used[-1])) // 255
        row[:] = np.minimum((step // 2 + count.cumsum() - count) // step, 255) if step else np.arange(256)
    view: np.ndarray = table.reshape(-1)[channels]
    return view


def _solarize(pixels: np.ndarray, threshold: float) -> np.ndarray:
    return np.where(pixels < threshold, pixels, 255 - pixels)


def _posterize(pixels: np.ndarray, bits: float) -> np.ndarray:
    return pixels & np.uint8(256 - 2 ** (8 - int(bits)))


TABLE_OPERATIONS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "Equalize": _equalize,
    "Invert": lambda pixels, _: 255 - pixels,
    "Posterize": _posterize,
    "Solarize": _solarize,
}
"""Operations that map each value of a channel to another: image and magnitude -> view, exactly PIL's.

PIL builds their tables in Python, most of the time of a small image.
"""


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
