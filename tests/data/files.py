"""Small data in files of every kind, for tests."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

from PIL import Image

COLOURS = {"red": (250, 10, 10), "green": (10, 200, 10), "blue": (10, 10, 250)}


NAMES = list(COLOURS)


def picture(number: int, size: tuple[int, int] = (40, 30), form: str = "PNG") -> bytes:
    """A picture of one colour, with its number in the first pixel."""
    pixels = Image.new("RGB", size, COLOURS[NAMES[number % 3]])
    file = io.BytesIO()
    pixels.save(file, form)
    return file.getvalue()


def caption(number: int) -> str:
    return f"a photo of a {NAMES[number % 3]} wall, number {number}"


def table(folder: Path, count: int = 60, sep: str = ",", head: tuple[str, ...] = ("filepath", "title")) -> Path:
    (folder / "pics").mkdir()
    lines = [sep.join(head)]
    for i in range(count):
        (folder / "pics" / f"{i}.png").write_bytes(picture(i))
        lines.append(sep.join([f"pics/{i}.png", f'"{caption(i)}"']))
    (folder / "pairs.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "pairs.csv"


def class_folder(root: Path, count: int = 60) -> None:
    for i in range(count):
        folder = root / NAMES[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(picture(i))


def shards(folder: Path, count: int = 60) -> str:
    for shard in range(2):
        with tarfile.open(folder / f"{shard:04d}.tar", "w") as file:
            for i in range(shard, count, 2):
                text = caption(i).encode()
                about = json.dumps({"caption": caption(i), "class": NAMES[i % 3]}).encode()
                parts = [(".png", picture(i)), (".txt", text) if shard == 0 else (".json", about), (".pyd", b"x = 1")]
                for suffix, content in parts:
                    info = tarfile.TarInfo(f"{i:06d}{suffix}")
                    info.size = len(content)
                    file.addfile(info, io.BytesIO(content))
    return str(folder / "{0000..0001}.tar")


def zipped(path: Path, count: int = 60) -> str:
    with zipfile.ZipFile(path, "w") as file:
        rows = [f"{i}.png,{caption(i)!r}".replace("'", '"') for i in range(count)]
        file.writestr("set/pairs.csv", "\n".join(["filepath,title", *rows]))
        for i in range(count):
            file.writestr(f"set/{i}.png", picture(i))
    return str(path)


def made(kind: str, folder: Path) -> str:
    if kind == "csv":
        return str(table(folder))
    if kind == "image_folder":
        class_folder(folder / "root")
        return str(folder / "root")
    return shards(folder) if kind == "shards" else zipped(folder / "x.zip")


KINDS = ["csv", "image_folder", "shards", "archive"]


def cut(content: bytes) -> bytes:
    """The first half."""
    return content[: len(content) // 2]
