"""PSNR and SSIM against naive numpy versions; decoding."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from cleaner.attacks import TRIGGERS
from cleaner.data.images import compare_triggered, decode_tensor, psnr, ssim, to_uint8
from cleaner.models.framing import ImageTransform
from cleaner.types import CleanerError

pytestmark = pytest.mark.quick


def naive_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM of one channel by two loops over windows."""
    ramp = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(ramp, ramp) / ramp.sum() ** 2
    values = []
    for i in range(a.shape[0] - 10):
        for j in range(a.shape[1] - 10):
            x, y = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            c = (window * (x - mx) * (y - my)).sum()
            values.append((2 * mx * my + 1e-4) * (2 * c + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    return float(np.mean(values))


def test_ssim_equals_the_naive_version() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, 16, 18, generator=generator)
    b = (a + 0.3 * torch.rand(2, 3, 16, 18, generator=generator)).clamp(0, 1)
    expected = [
        np.mean([naive_ssim(x.double().numpy(), y.double().numpy()) for x, y in zip(p, q, strict=True)])
        for p, q in zip(a, b, strict=True)
    ]
    assert ssim(a, b).tolist() == pytest.approx(expected, abs=1e-5)
    assert ssim(a, a).tolist() == pytest.approx([1, 1], abs=1e-5)


def test_ssim_needs_a_window() -> None:
    with pytest.raises(CleanerError, match="11 px"):
        ssim(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))


def test_psnr() -> None:
    a = torch.zeros(2, 3, 4, 4)
    assert psnr(a, a + 0.1).tolist() == pytest.approx([20, 20], abs=1e-4)
    assert psnr(a, a).isinf().all()


def test_comparison_shows_the_difference() -> None:
    rows = compare_triggered(torch.full((2, 3, 64, 64), 0.5), TRIGGERS["badnet"](patch_size=28))
    assert rows[0].clean.shape == (64, 64, 3)
    assert (rows[0].difference[:50, :50] == rows[0].difference[0, 0]).all()
    assert (rows[0].triggered[-8:, -8:] != 128).any()
    assert rows[0].psnr < 40
    (lighter,) = compare_triggered(torch.full((1, 3, 16, 16), 0.5), lambda images: images + 0.025)
    assert (lighter.difference == 191).all()  # a half, and ten times 0.025


def test_decode_tensor() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (90, 40), (255, 0, 0)).save(buffer, "PNG")
    image = decode_tensor(buffer.getvalue(), ImageTransform(32))
    assert image.shape == (3, 32, 32)
    assert to_uint8(image[None])[0, 5, 5].tolist() == [255, 0, 0]
    for content in (b"", b"GIF89a", buffer.getvalue()[:60]):
        with pytest.raises(CleanerError, match="cannot be read"):
            decode_tensor(content, ImageTransform(32))


def tiff(values: object, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), values, kind)).save(buffer, "TIFF")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["uint16", "int32"])
def test_sixteen_bits_become_eight(kind: str) -> None:
    assert to_uint8(decode_tensor(tiff(257 * 100, kind), ImageTransform(8))[None])[0, 0, 0].tolist() == [100] * 3


def test_framing_an_opened_image_does_what_reading_its_file_does() -> None:
    content = tiff(257 * 100, "uint16")
    assert ImageTransform(8)(Image.open(io.BytesIO(content)))[0, 0, 0] == 100
    turned, exif, buffer = Image.new("RGB", (8, 8)), Image.Exif(), io.BytesIO()
    turned.paste((255, 255, 255), (0, 0, 8, 4))
    exif[0x0112] = 3  # upside down
    turned.save(buffer, "PNG", exif=exif)
    framed = ImageTransform(8)(Image.open(io.BytesIO(buffer.getvalue())))
    assert torch.equal(framed.float() / 255, decode_tensor(buffer.getvalue(), ImageTransform(8)))
    assert framed[0, 0, 0] == 0


@pytest.mark.parametrize(("value", "kind"), [(0.5, "float32"), (70_000, "int32"), (-1, "int32")])
def test_more_than_sixteen_bits_raise(value: float, kind: str) -> None:
    with pytest.raises(CleanerError, match="16 bits"):
        decode_tensor(tiff(value, kind), ImageTransform(8))
