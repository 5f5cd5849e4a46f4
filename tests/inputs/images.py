"""Image files: cut off, changed, of odd shapes and pixels, bombs, and files that are two things at once."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageOps, PngImagePlugin
from torch import Tensor

from cleaner.data.images import decode_tensor, read_image_file
from cleaner.data.pairs import is_complete
from cleaner.models.framing import ImageTransform
from tests.inputs.cases import ODD_NAMES, Case, Read, case

FORMATS = "png jpeg webp gif bmp tiff"
SIDE = 32


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    """Return an image with another color at each place, so that a wrong crop or turn is seen."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, (x + y) / 2], axis=2).astype(np.uint8))


@cache
def sample(kind: str) -> bytes:
    return encode(gradient(48, 40), kind)


SECRET = sample("png")


def check_image(image: Tensor) -> None:
    assert image.shape == (3, SIDE, SIDE)
    assert image.dtype == torch.float32
    assert 0 <= image.min() <= image.max() <= 1  # false for NaN


def reader(content: bytes, case: Case, *, like: Image.Image | None = None, tolerance: float = 0.0) -> Read:
    """Return the reading of an image file, as a page does (bytes) and as a form does (path).

    like: an image that the file must be read as, within `tolerance` of the range on average.
    """
    path = case.folder / "image.png"
    path.write_bytes(content)

    def read() -> None:
        is_complete(content)
        image = decode_tensor(content, ImageTransform(SIDE), case_name)
        check_image(image)
        assert read_image_file(str(path)) == content
        if like is not None:
            expected = decode_tensor(encode(like, "png"), ImageTransform(SIDE))
            assert (image - expected).abs().mean() <= tolerance

    case_name = case.draw(ODD_NAMES)
    return read


@case(FORMATS, "truncated")
def truncated(case: Case) -> Read:
    return reader(case.truncate(sample(case.kind)), case)


@case(FORMATS, "mutated")
def mutated(case: Case) -> Read:
    return reader(case.mutate(sample(case.kind)), case)


@case(FORMATS, "tiny")
def tiny(case: Case) -> Read:
    size = case.integer(1, 3), case.integer(1, 3)
    color = tuple(case.integer(0, 255) for _ in range(3))
    image = Image.new("RGB", size, color)
    return reader(encode(image, case.kind), case, like=image, tolerance=0.1)


@case(FORMATS, "polyglot")
def polyglot(case: Case) -> Read:
    """An image with another file behind it, or in front of it."""
    other = case.pick(
        zip_file(), b"<script>alert(1)</script>", b"%!PS\n(x) run", b"\x80\x04cos\nsystem\n", case.noise(50)
    )
    if case.pick(True, True, False):
        return reader(sample(case.kind) + other, case, like=gradient(48, 40), tolerance=0.1)
    return reader(other + sample(case.kind), case)


def zip_file() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../owned", "x")
    return file.getvalue()


@case("image", "long side")
def long_side(case: Case) -> Read:
    """20,000 px by a few."""
    long, short = case.integer(15_000, 20_000), case.pick(1, 2, 3, 7, case.integer(8, 300))
    size = (long, short) if case.pick(True, False) else (short, long)
    color = tuple(case.integer(0, 255) for _ in range(3))
    image = Image.new("RGB", size, color)
    return reader(encode(image, case.pick("png", "bmp")), case, like=image, tolerance=0.01)


@case("image", "sixteen bits")
def sixteen_bits(case: Case) -> Read:
    pixels = np.asarray(gradient(40, 40))[..., 2]
    deep = (pixels.astype(np.int32) * 257 + case.integer(-100, 100)).clip(0, 65_535)
    image = Image.fromarray(deep.astype(np.uint16))
    kind = case.pick("png", "tiff")
    return reader(encode(image, kind), case, like=Image.fromarray(pixels).convert("RGB"), tolerance=0.01)


@case("image", "many bits")
def many_bits(case: Case) -> Read:
    """Floating-point and 32-bit pixels, some of them not finite."""
    values = np.full((8, 8), case.pick(0.0, 1.0, -1.0, 1e30, np.nan, np.inf, 255.0, 70_000.0), np.float32)
    values[0, 0] = case.integer(-(2**31), 2**31 - 1)
    kind = case.pick(np.float32, np.int32)
    with np.errstate(invalid="ignore"):
        image = Image.fromarray(values.astype(kind))
    return reader(encode(image, "tiff"), case)


@case("image", "color model")
def color_model(case: Case) -> Read:
    """CMYK, palettes with and without transparency, gray with alpha, one bit, LAB, YCbCr."""
    mode, kind = case.pick(
        *[("CMYK", kind) for kind in ("jpeg", "tiff")],
        *[("P", kind) for kind in ("png", "gif", "tiff", "bmp")],
        *[(mode, "png") for mode in ("1", "L", "LA", "RGBA")],
        *[(mode, "tiff") for mode in ("1", "LAB", "YCbCr", "RGBA", "RGBX", "LA")],
        ("RGBA", "webp"),
    )
    source = gradient(40 + case.integer(0, 20), 40)
    if mode == "LAB":
        image = Image.merge("LAB", source.split())
        return reader(encode(image, kind), case)
    image = source.convert(mode)
    options = {"transparency": case.integer(0, 255)} if mode == "P" and kind in ("png", "gif") else {}
    return reader(encode(image, kind, **options), case, like=image.convert("RGB"), tolerance=0.02)


@case("image", "animated")
def animated(case: Case) -> Read:
    """Only the first frame counts."""
    frames = [gradient(40, 40), *[Image.new("RGB", (40, 40), tuple(case.noise(3))) for _ in range(3)]]
    kind = case.pick("gif", "png", "webp", "tiff")
    content = encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=case.integer(0, 70_000))
    return reader(content, case, like=frames[0], tolerance=0.1)


@case("image", "rotated by EXIF")
def rotated(case: Case) -> Read:
    orientation = case.integer(0, 10)
    image, exif = gradient(48, 40), Image.Exif()
    exif[0x0112] = orientation
    content = encode(image, case.pick("jpeg", "png", "webp", "tiff"), exif=exif)
    turns = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM}
    turns |= {5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE}
    turns |= {8: Image.Transpose.ROTATE_90}
    like = image.transpose(turns[orientation]) if orientation in turns else image
    return reader(content, case, like=like, tolerance=0.05)


@case("image", "odd metadata")
def odd_metadata(case: Case) -> Read:
    """Broken EXIF and ICC blocks, text that unpacks to much more than its size."""
    image, kind = gradient(48, 40), case.pick("png", "jpeg", "webp", "tiff")
    if kind == "png" and case.pick(True, False):
        texts = PngImagePlugin.PngInfo()
        texts.add_text("comment", "x" * case.pick(10, 10_000, 5_000_000), zip=True)
        return reader(encode(image, kind, pnginfo=texts), case)
    block = case.pick(case.noise(60), b"Exif\0\0" + case.noise(60), b"II*\0\x08\0\0\0\xff\xff" + case.noise(100), b"")
    if kind == "tiff" or case.pick(True, False):
        return reader(encode(image, kind, icc_profile=block or b"x"), case)
    return reader(encode(image, kind, exif=block), case)


@case("image", "bomb")
def bomb(case: Case) -> Read:
    """A small file that claims, or really has, hundreds of millions of pixels."""
    width, height = case.pick((20_000, 20_000), (65_500, 65_500), (2**31 - 1, 1), (9_000, 9_000), (8_900, 8_900))
    kind = case.pick("png", "gif", "bmp", "jpeg", "webp")
    if kind == "png":
        depth, color = case.pick((8, 2), (16, 0), (1, 3), (16, 6))
        header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, case.pick(0, 1))
        packer = zlib.compressobj(9)
        pixels = packer.compress(bytes(case.pick(0, 1_000_000, 20_000_000))) + packer.flush()
        return reader(
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""), case
        )
    content, clipped = bytearray(sample(kind)), (min(width, 65_535), min(height, 65_535))
    if kind == "gif":
        content[6:10] = struct.pack("<HH", *clipped)
    elif kind == "bmp":
        content[18:26] = struct.pack("<ii", width, height)
    elif kind == "jpeg":
        place = content.find(b"\xff\xc0") + 5
        content[place : place + 4] = struct.pack(">HH", clipped[1], clipped[0])
    else:
        content[26:30] = struct.pack("<HH", clipped[0] & 0x3FFF, clipped[1] & 0x3FFF)
    return reader(bytes(content), case)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@case("image", "no image")
def no_image(case: Case) -> Read:
    """Other files under the name of an image: programs for printers and drawings, archives, text, nothing."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(owned) (w) file\n"
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://localhost/x"/></svg>'
    content = case.pick(
        eps, svg, zip_file(), b"%PDF-1.4\n", b"", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"GIF89a", b"BM"
    )
    return reader(content + case.noise(case.integer(0, 200)), case)


@case("image", "special file")
def special_file(case: Case) -> Read:
    """A pipe, a device, a folder, a link: the path of an image that a form asks for."""
    path = case.folder / "x.png"
    match case.integer(0, 5):
        case 0:
            os.mkfifo(path)
        case 1:
            path.symlink_to(case.pick("/dev/zero", "/dev/urandom", "/dev/stdin", "/proc/self/mem"))
        case 2:
            path.mkdir()
        case 3:
            path.symlink_to(path)
        case 4:
            with path.open("wb") as file:
                file.truncate(case.pick(2**40, 60 * 2**20))
        case _:
            path = case.folder / "missing" / case.draw(ODD_NAMES).replace("/", "")
    return lambda: read_image_file(str(path))


@case("image", "upright")
def upright(case: Case) -> Read:
    """Nothing is wrong with these; they must be read."""
    image = ImageOps.posterize(gradient(case.integer(4, 90), case.integer(4, 90)), 4)
    content = encode(image, case.pick("png", "webp", "tiff", "bmp"))
    return reader(content, case, like=image, tolerance=0.05)
