"""Corruptions of CIFAR-10-C: what each does to an image, and that noise belongs to the image."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as TF

from benchmarks.corruptions import CORRUPTIONS, Corrupted, corrupt
from cleaner.data.base import TensorData
from cleaner.models.framing import ImageTransform
from cleaner.types import CleanerError


def make_data(count: int = 6, side: int = 32) -> TensorData:
    images = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    return TensorData(images, [f"photo {i}" for i in range(count)], ["a", "b"], [i % 2 for i in range(count)], "photos")


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_contract(kind: str) -> None:
    base = make_data()
    data = Corrupted(base, kind)
    images = data.images(range(6))
    assert images.shape == (6, 3, 32, 32)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    assert ((images * 255).round() / 255 - images).abs().max() < 1e-6  # 8 bits
    assert (images - base.images(range(6))).abs().mean() > 0.01
    assert data.images([4, 2]).equal(images[[4, 2]])  # not a matter of the batch
    assert (data.captions, data.labels.tolist(), data.name) == (base.captions, base.labels.tolist(), f"photos {kind}")
    assert len(data.images([])) == 0


def test_noise_has_the_published_strength() -> None:
    gray = torch.full((3, 64, 64), 0.5)
    assert corrupt(gray, "gaussian_noise", 0).std().item() == pytest.approx(0.08, rel=0.05)
    assert corrupt(gray, "shot_noise", 0).std().item() == pytest.approx((0.5 / 100) ** 0.5, rel=0.05)
    for kind in ("gaussian_noise", "shot_noise"):
        assert not corrupt(gray, kind, 0).equal(corrupt(gray, kind, 1))


def test_contrast_and_brightness() -> None:
    image = make_data(1).images([0])[0]
    low = corrupt(image, "contrast", 0)
    assert low.std(dim=(1, 2)).allclose(0.4 * image.std(dim=(1, 2)), rtol=0.02)
    assert low.mean(dim=(1, 2)).allclose(image.mean(dim=(1, 2)), atol=0.01)
    bright = corrupt(image, "brightness", 0)
    assert (bright.amax(dim=0) - image.amax(dim=0)).allclose(torch.tensor(0.15), atol=0.004)
    assert corrupt(torch.zeros(3, 4, 4), "brightness", 0).allclose(torch.tensor(0.15), atol=0.004)


def test_blur_and_compression() -> None:
    image = make_data(1).images([0])[0].mul(255).round().div(255)
    assert corrupt(image, "gaussian_blur", 0).allclose(TF.gaussian_blur(image, [7, 7], [0.7, 0.7]), atol=0.5 / 255)
    file = io.BytesIO()
    TF.to_pil_image(image.mul(255).to(torch.uint8)).save(file, "JPEG", quality=58)
    assert corrupt(image, "jpeg_compression", 0).allclose(TF.pil_to_tensor(Image.open(file)) / 255)


def test_photos_are_corrupted_at_their_own_size() -> None:
    data = Corrupted(make_data(side=64), "gaussian_noise")
    assert data.images([0]).shape == (1, 3, 32, 32)
    assert data.with_transform(ImageTransform(64)).images([0]).shape == (1, 3, 64, 64)


def test_an_unknown_corruption_is_refused() -> None:
    with pytest.raises(CleanerError, match="gaussian_noise"):
        Corrupted(make_data(), "snow")
