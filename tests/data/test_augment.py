"""Augmented views: torchvision's policy with a seed per image."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from cleaner.data.augment import TABLE_OPERATIONS, augment
from cleaner.seed import derive_seed
from tests.conftest import make_toy_data

pytestmark = pytest.mark.quick


def test_autoaugment_equals_torchvision_with_the_seed_of_each_image() -> None:
    images, rows = make_toy_data().images(range(24)), list(range(100, 124))
    views = augment(images, "autoaugment", 3, 1, rows)
    transform = AutoAugment(AutoAugmentPolicy.IMAGENET, interpolation=InterpolationMode.BILINEAR)
    for image, view, row in zip(images, views, rows, strict=True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("augment", 3, 1, row))
            expected = pil_to_tensor(transform(to_pil_image((image * 255).round().to(torch.uint8)))).float() / 255
        assert torch.equal(view, expected)
    assert sum(not torch.equal(view, image) for image, view in zip(images, views, strict=True)) > 12


@pytest.mark.parametrize(
    ("name", "magnitude", "expected"),
    [
        ("Equalize", 0.0, ImageOps.equalize),
        ("Invert", 0.0, ImageOps.invert),
        *[("Solarize", m, partial(ImageOps.solarize, threshold=m)) for m in (0.0, 85.0, 113.3, 255.0)],
        *[("Posterize", m, partial(ImageOps.posterize, bits=m)) for m in range(1, 9)],
    ],
)
def test_table_operations_equal_pils(name: str, magnitude: float, expected: Callable[[Image.Image], Any]) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(low, high, (64, 64, 3), dtype=np.uint8) for low, high in ((0, 256), (7, 8), (60, 90))]
    images += [(rng.random((n, n, 3)) ** 6 * 255).astype(np.uint8) for n in (2, 16, 90)]
    for pixels in images:
        view = TABLE_OPERATIONS[name](pixels, magnitude)
        assert view.dtype == np.uint8
        assert np.array_equal(view, np.asarray(expected(Image.fromarray(pixels))))


def test_a_gentle_view_keeps_left_and_right() -> None:
    image = torch.full((3, 32, 32), 0.2)
    image[..., 16:] = 0.8
    views = augment(image.expand(50, 3, 32, 32), "gentle", 0, 0, range(50))
    assert all(view[..., :10].mean() < view[..., -10:].mean() for view in views)


def test_a_gentle_view_is_turned_moved_and_lit_within_its_limits() -> None:
    def draw(image: torch.Tensor) -> torch.Tensor:
        return augment(image.expand(50, 3, 32, 32), "gentle", 0, 0, range(50))

    light = draw(torch.full((3, 32, 32), 0.5)).mean(dim=(1, 2, 3)) / 0.5
    assert 0.699 < light.min() < 0.8 < 1.2 < light.max() < 1.301
    dots = torch.zeros(3, 32, 32)
    dots[:, 15:17, 4:6] = dots[:, 15:17, 26:28] = 1
    left, right = (part.sum(1).flatten(1).argmax(1) for part in draw(dots).split(16, dim=-1))
    slopes = (left // 16 - right // 16).abs() / (right % 16 + 16 - left % 16)
    assert 0.1 < slopes.max() < 0.36  # tan(15°), and a pixel
    middles = (left // 16 + right // 16) / 2 - 15.5
    assert 2 < middles.abs().max() < 4.6  # a tenth of 32, and a pixel


def test_a_gentle_view_has_another_contrast() -> None:
    image = torch.full((3, 32, 32), 0.2)
    image[..., 16:] = 0.6
    views = augment(image.expand(50, 3, 32, 32), "gentle", 0, 0, range(50))
    ratio = views[..., 12:20, 26].mean(dim=(1, 2)) / views[..., 12:20, 5].mean(dim=(1, 2))  # brightness alone keeps 3
    assert 2 < ratio.min() < 2.3
    assert 4.2 < ratio.max() < 4.8


def test_augmentation_leaves_the_global_generator_unchanged() -> None:
    images, state = make_toy_data().images(range(8)), torch.get_rng_state()
    before = images.clone()
    augment(images, "autoaugment", 0, 0, range(8))
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)
