"""Tar shards in webdataset's naming: pictures and captions that share a stem (000012.jpg, 000012.txt or .json)."""

from __future__ import annotations

import glob
import json
import os
import re
import tarfile
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from cleaner.data.base import DATASETS
from cleaner.data.naming import fill_template
from cleaner.data.pairs import FileData, PairTable
from cleaner.types import CleanerError

SHARD_IMAGE_SUFFIXES, CAPTION_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp"), (".txt", ".json")
MAX_TEXT_BYTES, MAX_IMAGE_BYTES = 1_000_000, 64_000_000
MAX_SHARDS = 100_000
TAR_ERRORS = (tarfile.TarError, OSError, EOFError, ValueError, ArithmeticError, RecursionError)
"""What Python's reader ends in on a damaged or crafted tar file."""
MemberLocation = tuple[int, int, int]
"""Which shard, where in it, how many bytes."""


@DATASETS.register("shards")
class ShardData(FileData):
    """`shards:/path/{0000..0012}.tar`, a folder of .tar files, a pattern with * or one file.

    Only .jpg, .png, .webp with .txt or .json (caption, text or title; class or label) are read, nothing is unpacked, no
    address or command is followed. Pictures without a text get a caption from the name of their folder.
    """

    def __init__(self, path: str = "", **file_options: Any) -> None:
        shards = expand_shards(path)
        names = [shard.name for shard in shards]
        if len(set(names)) < len(names):  # a/0000.tar, b/0000.tar
            top = os.path.commonpath([shard.parent for shard in shards])
            names = [shard.relative_to(top).as_posix() for shard in shards]
        places: dict[str, MemberLocation] = {}
        texts: dict[str, tuple[str, str]] = {}
        for number, shard in enumerate(shards):
            try:
                _index_shard(shard, number, names[number], places, texts)
            except TAR_ERRORS as error:
                raise CleanerError(
                    f"{shard} cannot be read as a tar file: if it is compressed, unpack it first."
                ) from error

        def read(key: str) -> bytes:
            number, offset, size = places[key]
            with shards[number].open("rb") as file:
                file.seek(offset)
                return file.read(size)

        table = PairTable([], [], read)
        classes = []
        pictures = Counter(map(_stem, places))
        for key in places:
            # A text is named as its picture (photo.1.jpg, photo.1.txt), or up to the first dot as the only one there.
            stem = key.rpartition(".")[0]
            if stem not in texts and pictures[_stem(key)] == 1:
                stem = _stem(key)
            # The key begins with the shard's name, which is no class.
            folder = PurePosixPath(key.removeprefix(f"{names[places[key][0]]}/")).parent.name
            if stem not in texts and not folder:
                table.skipped_rows.append(f"{key} has no caption")
                continue
            caption, name = texts.get(stem, ("", folder.replace("_", " ")))
            table.keys.append(key)
            table.captions.append(caption or fill_template(name, key))
            classes.append(name)
        if any(classes):
            table.classes = classes
        super().__init__(table, f"shards:{path}", **file_options)

    @staticmethod
    def recognizes(path: Path) -> bool:
        return path.suffix == ".tar" or (path.is_dir() and any(path.glob("*.tar")))


def expand_shards(path: str) -> list[Path]:
    """Return the files that a name stands for: {0000..0012}, *, a folder or a file."""
    if "://" in path or path.startswith("pipe:"):
        raise CleanerError(f"{path} is no file: shards are read from this machine only, fetch them first.")
    ranges = re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}(.*)", path)
    if ranges:
        before, low, high, after = ranges.groups()
        # Their digits first: a number of thousands of digits is none for Python.
        if max(len(low), len(high)) > 18 or int(high) - int(low) >= MAX_SHARDS:
            raise CleanerError(f"{path[:200]} names more than {MAX_SHARDS:,} shards: name a smaller range.")
        found = [Path(f"{before}{i:0{len(low)}d}{after}") for i in range(int(low), int(high) + 1)]
    elif path and os.path.isdir(path):  # unlike pathlib's, it takes a name of any length
        found = sorted(Path(path).glob("*.tar"))
    else:
        found = [Path(name) for name in sorted(glob.glob(path))] if "*" in path else [Path(path)]
    missing = [shard for shard in found if not os.path.isfile(shard)]
    if missing or not found:
        raise CleanerError(
            f"there is no shard {missing[0] if missing else path!r}: name files, as in shards:/folder/*.tar."
        )
    return found


def _stem(name: str) -> str:
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _index_shard(
    shard: Path, shard_index: int, name: str, locations: dict[str, MemberLocation], texts: dict[str, tuple[str, str]]
) -> None:
    """Note where the pictures of a shard lie and what its captions say; `name` is unique among the shards."""
    with tarfile.open(shard, "r:") as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # or it would keep every header in memory
            # Shards number their pairs anew; the shard's name makes them unique.
            key = f"{name}/{member.name}"
            suffix = PurePosixPath(member.name).suffix.lower()
            if not member.isreg() or PurePosixPath(member.name).name.startswith("."):  # macOS keeps ._1.jpg
                continue
            if suffix in SHARD_IMAGE_SUFFIXES and member.size <= MAX_IMAGE_BYTES:
                locations[key] = (shard_index, member.offset_data, member.size)
            elif suffix in CAPTION_SUFFIXES and member.size <= MAX_TEXT_BYTES:
                file = archive.extractfile(member)
                content = file.read().decode("utf-8", errors="replace") if file else ""
                text = _parse_caption_json(content) if suffix == ".json" else (content, "")
                for stem in {key.rpartition(".")[0], _stem(key)}:
                    known = texts.get(stem, ("", ""))
                    texts[stem] = (" ".join((text[0] or known[0]).split()), text[1] or known[1])


def _parse_caption_json(content: str) -> tuple[str, str]:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(values, dict):
        return "", ""

    def text(*names: str) -> str:
        return next((value for name in names if isinstance(value := values.get(name), str)), "")

    return text("caption", "text", "title"), text("class_name", "class", "label")
