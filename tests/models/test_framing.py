"""Untrusted image files: which are decoded, and which are refused."""

from __future__ import annotations

import base64
import io
import struct
from typing import Any

import pytest
from PIL import EpsImagePlugin, Image

from cleaner.data.images import decode_png
from cleaner.data.pairs import is_complete
from cleaner.models.framing import decode_image
from cleaner.types import CleanerError
from pages._shared.inspect import pixels
from tests.inputs.images import chunk

pytestmark = pytest.mark.quick

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\nshowpage\n%%EOF\n"


def test_postscript_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **_: ran.append(given) or Image.new("L", (9, 9)))
    with pytest.raises(CleanerError, match=r"x\.png cannot be read as an image"):
        decode_image(EPS, "x.png")
    assert not is_complete(EPS)
    text = base64.b64encode(EPS).decode()
    for decode in (decode_png, pixels.decode_png):
        with pytest.raises((CleanerError, OSError)):
            decode(text)
    assert ran == []


@pytest.mark.parametrize("size", [(20_000, 20_000), (30_000, 1), (1, 30_000), (1025, 1025)])
def test_a_large_patch_is_refused_by_its_header(size: tuple[int, int]) -> None:
    """A hundred bytes must not become gigabytes: the header alone states the size."""
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    text = base64.b64encode(content).decode()
    for decode in (decode_png, pixels.decode_png):
        with pytest.raises(ValueError, match=r"too large|exceeds limit|patch of the trigger is broken") as found:
            decode(text)
        assert "truncated" not in str(found.value.__cause__)


@pytest.mark.parametrize("size", [(16, 16), (32, 16), (1024, 1024)])
def test_patches_are_enlarged(size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    text = base64.b64encode(file.getvalue()).decode()
    assert pixels.decode_png(text).shape[:2] == (max(256, size[1]), max(256 * size[0] // size[1], size[0]))


@pytest.mark.parametrize(("tag", "kind"), [(256, 1), (282, 2), (305, 11)])
def test_broken_exif_is_rejected(tag: int, kind: int) -> None:
    """Rotation rewrites the EXIF data, where PIL raises errors of many types."""
    entries = struct.pack("<HHHIIHHIHH", 2, 274, 3, 1, 6, tag, kind, 1, 257, 0)
    file = io.BytesIO()
    Image.new("RGB", (20, 10)).save(file, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + entries + b"\0" * 4)
    with pytest.raises(CleanerError, match=r"x\.jpg cannot be read as an image"):
        decode_image(file.getvalue(), "x.jpg")


def test_too_many_pixels_are_found_in_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "PNG")
    assert is_complete(file.getvalue())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert not is_complete(file.getvalue())
