"""Augmented views: torchvision's policy with a seed per image."""

from __future__ import annotations

import torch
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode

from cleaner.data.augment import augment
from cleaner.seed import derive_seed
from tests.conftest import make_toy_data


def test_autoaugment_equals_torchvision_with_the_seed_of_each_image() -> None:
    images, rows = make_toy_data().images(range(24)), list(range(100, 124))
    views = augment(images, "autoaugment", 3, 1, rows)
    transform = AutoAugment(AutoAugmentPolicy.IMAGENET, interpolation=InterpolationMode.BILINEAR)
    for image, view, row in zip(images, views, rows, strict=True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("augment", 3, 1, row))
            expected = transform((image * 255).round().to(torch.uint8)).float() / 255
        assert torch.equal(view, expected)
    assert sum(not torch.equal(view, image) for image, view in zip(images, views, strict=True)) > 12


def test_augmentation_leaves_the_global_generator_unchanged() -> None:
    images, state = make_toy_data().images(range(8)), torch.get_rng_state()
    augment(images, "autoaugment", 0, 0, range(8))
    assert torch.equal(torch.get_rng_state(), state)
