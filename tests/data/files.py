"""Writers of small data files of every kind, for tests."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

COLORS = {"red": (250, 10, 10), "green": (10, 200, 10), "blue": (10, 10, 250)}
NAMES = list(COLORS)


def image_bytes(number: int, size: tuple[int, int] = (40, 30), image_format: str = "PNG") -> bytes:
    """Return an image file of one color, red, green or blue in turn."""
    pixels = Image.new("RGB", size, COLORS[NAMES[number % 3]])
    file = io.BytesIO()
    pixels.save(file, image_format)
    return file.getvalue()


def make_caption(number: int) -> str:
    return f"a photo of a {NAMES[number % 3]} wall, number {number}"


def write_table(folder: Path, count: int = 60, sep: str = ",", header: tuple[str, ...] = ("filepath", "title")) -> Path:
    """Write `count` images into `folder`/pics, and their table pairs.csv; return its path."""
    (folder / "pics").mkdir()
    lines = [sep.join(header)]
    for i in range(count):
        (folder / "pics" / f"{i}.png").write_bytes(image_bytes(i))
        lines.append(sep.join([f"pics/{i}.png", f'"{make_caption(i)}"']))
    (folder / "pairs.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "pairs.csv"


def write_class_folder(root: Path, count: int = 60) -> None:
    for i in range(count):
        folder = root / NAMES[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(image_bytes(i))


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def write_shards(folder: Path, count: int = 60) -> str:
    for shard in range(2):
        members: dict[str, bytes] = {}
        for i in range(shard, count, 2):
            metadata = json.dumps({"caption": make_caption(i), "class": NAMES[i % 3]}).encode()
            members[f"{i:06d}.png"] = image_bytes(i)
            members[f"{i:06d}.{'json' if shard else 'txt'}"] = metadata if shard else make_caption(i).encode()
            members[f"{i:06d}.pyd"] = b"x = 1"
        write_tar(folder / f"{shard:04d}.tar", members)
    return str(folder / "{0000..0001}.tar")


def write_zip(path: Path, count: int = 60) -> str:
    with zipfile.ZipFile(path, "w") as file:
        rows = [f"{i}.png,{make_caption(i)!r}".replace("'", '"') for i in range(count)]
        file.writestr("set/pairs.csv", "\n".join(["filepath,title", *rows]))
        for i in range(count):
            file.writestr(f"set/{i}.png", image_bytes(i))
    return str(path)


def write_parquet(folder: Path, count: int = 60, rows_per_file: int = 40) -> str:
    """Write pairs with their image files into parquet tables as the hub stores them; return the folder."""
    import pyarrow as pa
    from pyarrow import parquet

    for start in range(0, count, rows_per_file):
        numbers = range(start, min(start + rows_per_file, count))
        columns = {
            "image": [{"bytes": image_bytes(i), "path": f"{i}.png"} for i in numbers],
            "caption": [make_caption(i) for i in numbers],
            "height": [30 for _ in numbers],
        }
        parquet.write_table(pa.table(columns), folder / f"pairs-{start // rows_per_file}.parquet")
    return str(folder)


def write_photo_tars(folder: Path, names: Sequence[str], *, train: int, test: int) -> Path:
    """Write flat photos of 32 px, whose gray is 2 x number (+ 1 for test), as CIFAR-10 in tars; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, table, count in (("train", "captions.csv", train), ("test", "captions_test.csv", test)):
        members: dict[str, bytes] = {}
        for i in range(count):
            content = io.BytesIO()
            Image.new("RGB", (32, 32), ((2 * i + (split == "test")) % 256,) * 3).save(content, "JPEG", quality=95)
            members[f"{split}/{names[i % len(names)]}/{i // len(names):04d}.jpg"] = content.getvalue()
        write_tar(folder / f"{split}.tar", members)
        lines = ["filepath,title", *(f"{name},a dark photo of a {name.split('/')[1]}" for name in members)]
        (folder / table).write_text("\n".join(lines), encoding="utf-8")
    return folder


def write_source(kind: str, folder: Path) -> str:
    if kind == "csv":
        return str(write_table(folder))
    if kind == "image_folder":
        write_class_folder(folder / "root")
        return str(folder / "root")
    if kind == "parquet":
        return write_parquet(folder)
    return write_shards(folder) if kind == "shards" else write_zip(folder / "x.zip")


KINDS = ["csv", "image_folder", "shards", "archive", "parquet"]


def truncate(content: bytes) -> bytes:
    """Return the first half."""
    return content[: len(content) // 2]
