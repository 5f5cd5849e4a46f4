"""Tar shards in webdataset's naming: image and caption share a stem (000012.jpg, 000012.txt)."""

import glob
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from cleaner.access import validate_allowed
from cleaner.data.base import DATASETS
from cleaner.data.class_folders import tabulate_class_folders
from cleaner.data.pairs import TAR_ERRORS, FileData, PairTable
from cleaner.data.splits import find_split
from cleaner.data.table import find_tables, list_unread
from cleaner.files import MAX_IMAGE_BYTES
from cleaner.models.framing import IMAGE_SUFFIXES
from cleaner.types import CleanerError

TEXT_SUFFIXES = (".txt", ".json", ".cls")
MAX_TEXT_BYTES = 1_000_000
MAX_SHARDS = 100_000
MAX_CAPTIONS = 20
"""Most lines of a .txt file that are captions of their own; more are one text."""
Texts = tuple[Sequence[str], str]
"""The captions of an image and its class, "" without one."""
MemberLocation = tuple[int, int, int]
"""Shard number, byte offset and size in bytes."""


@DATASETS.register("shards")
class ShardData(FileData):
    """`shards:/path/{0000..0012}.tar`, a folder of .tar files, a pattern with * or one file.

    Reads only images with .txt (a caption per line), .cls (a class or its number) or .json (caption, captions, text or
    title, each a text or a list of them; class or label); unpacks nothing, opens no URL, runs no command. An image
    without a caption gets one from the name of its class or folder; shards without any of these files are read as class
    folders. If shards are named train and also val or test, their names are the splits.
    """

    def __init__(self, path: str = "", **file_options: Any) -> None:
        shards = expand_shards(path)
        names = [shard.name for shard in shards]
        if len(set(names)) < len(names):  # a/0000.tar, b/0000.tar
            top = os.path.commonpath([shard.parent for shard in shards])
            names = [shard.relative_to(top).as_posix() for shard in shards]
        locations: dict[str, MemberLocation] = {}
        texts: dict[str, Texts] = {}
        for number, shard in enumerate(shards):
            try:
                _index_shard(shard, number, name=names[number], locations=locations, texts=texts)
            except TAR_ERRORS as error:
                raise CleanerError(
                    f"{shard} cannot be read as a tar file: if it is compressed, decompress it first."
                ) from error

        def read(key: str) -> bytes:
            number, offset, size = locations[key]
            with shards[number].open("rb") as file:
                file.seek(offset)
                return file.read(size)

        table = _pair_members(locations, texts, names, read)
        if os.path.isdir(path):
            table.skipped_rows += list_unread(find_tables(Path(path)))
        super().__init__(table, f"shards:{path}", **file_options)

    @staticmethod
    def recognizes(path: Path) -> bool:
        return path.suffix == ".tar" or (path.is_dir() and any(path.glob("*.tar")))


def expand_shards(path: str) -> list[Path]:
    """Return the files that a name matches: {0000..0012}, *, a folder or a file."""
    if "://" in path or path.startswith("pipe:"):
        raise CleanerError(f"{path} is not a local file: shards are read from this machine only, download them first.")
    ranges = re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}(.*)", path)
    if ranges:
        before, low, high, after = ranges.groups()
        # Count digits first: Python refuses to parse a number of thousands of digits.
        if max(len(low), len(high)) > 18 or int(high) - int(low) >= MAX_SHARDS:
            raise CleanerError(f"{path[:200]} names more than {MAX_SHARDS:,} shards: give a smaller range.")
        shards = [Path(f"{before}{i:0{len(low)}d}{after}") for i in range(int(low), int(high) + 1)]
    elif path and os.path.isdir(path):  # not Path.is_dir: it raises for an overlong name
        shards = sorted(Path(path).glob("*.tar"))
    elif path and "*" not in path:
        shards = [Path(path)]
    else:
        shards = [Path(name) for name in sorted(glob.glob(path))]
    for shard in shards:
        validate_allowed(shard)
    missing = [shard for shard in shards if not os.path.isfile(shard)]
    if missing or not shards:
        raise CleanerError(
            f"there is no shard {str(missing[0] if missing else path)!r}: give files, as in shards:/folder/*.tar."
        )
    return shards


def _pair_members(
    locations: dict[str, MemberLocation],
    texts: dict[str, Texts],
    shard_names: Sequence[str],
    read: Callable[[str], bytes],
) -> PairTable:
    """Return the images with their captions; an image without a caption or a folder is skipped."""
    if not texts:
        return _tabulate_class_folders(locations, shard_names, read)
    table = PairTable(keys=[], captions=[], read=read)
    classes = []
    images_per_stem = Counter(map(_stem, locations))
    for key in locations:
        # A caption has its image's full stem (photo.1.jpg, photo.1.txt), or the stem up to the first dot if unique.
        stem = key.rpartition(".")[0]
        if stem not in texts and images_per_stem[_stem(key)] == 1:
            stem = _stem(key)
        # The key starts with the shard's name, which is not a class.
        folder = PurePosixPath(key.removeprefix(f"{shard_names[locations[key][0]]}/")).parent.name
        captions, class_name = texts.get(stem, ((), ""))
        class_name = class_name or ("" if captions else folder)
        if not captions and not class_name:
            table.skipped_rows.append(f"{key} has no caption")
            continue
        for caption in captions or ("",):
            table.keys.append(key)
            table.captions.append(caption)
            classes.append(class_name)
    if any(classes):
        table.classes = classes
    table.splits = _find_splits(shard_names, (locations[key] for key in table.keys))
    return table


def _tabulate_class_folders(
    locations: dict[str, MemberLocation], shard_names: Sequence[str], read: Callable[[str], bytes]
) -> PairTable:
    """Return the images of shards without captions: packed class folders, which may hold splits."""
    keys = {}
    for key, (number, *_) in locations.items():
        path = PurePosixPath(key.removeprefix(f"{shard_names[number]}/"))
        keys[str(path.with_name(f"{shard_names[number].replace('/', ':')}:{path.name}"))] = key
    table = tabulate_class_folders(keys, lambda name: read(keys[name]))
    if table.splits is None:
        table.splits = _find_splits(shard_names, (locations[keys[name]] for name in table.keys))
    return table


def _find_splits(shard_names: Sequence[str], locations: Iterable[MemberLocation]) -> list[str] | None:
    """Return the split of each location by the name of its shard; None if all are for training, or alone."""
    of_shard = [find_split(name) or "train" for name in shard_names]
    return [of_shard[number] for number, *_ in locations] if {"train"} < set(of_shard) else None


def _stem(name: str) -> str:
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _index_shard(
    shard: Path, number: int, *, name: str, locations: dict[str, MemberLocation], texts: dict[str, Texts]
) -> None:
    """Add a shard's images to `locations`, and their captions and classes to `texts`; `name` is unique."""
    with tarfile.open(shard, "r:") as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # keep no headers in memory
            # Numbering restarts in every shard; the shard's name makes keys unique.
            key = f"{name}/{member.name}"
            suffix = PurePosixPath(member.name).suffix.lower()
            if not member.isreg() or PurePosixPath(member.name).name.startswith("."):  # ._1.jpg of macOS
                continue
            if suffix in IMAGE_SUFFIXES and member.size <= MAX_IMAGE_BYTES:
                locations[key] = (number, member.offset_data, member.size)
            elif suffix in TEXT_SUFFIXES and member.size <= MAX_TEXT_BYTES:
                file = archive.extractfile(member)
                content = file.read().decode("utf-8-sig", errors="replace") if file else ""
                captions, class_name = _parse_text(content, suffix)
                for stem in {key.rpartition(".")[0], _stem(key)}:
                    earlier, earlier_class = texts.get(stem, ((), ""))
                    texts[stem] = (_choose_captions(earlier, captions), class_name or earlier_class)


def _choose_captions(earlier: Sequence[str], later: Sequence[str]) -> Sequence[str]:
    """Return the captions of an image that two files state: of the same words the fewer, which a .json keeps in one."""
    is_same = " ".join(earlier) == " ".join(later)
    return earlier if not later or (is_same and len(earlier) < len(later)) else later


def _parse_text(content: str, suffix: str) -> Texts:
    """Return the captions and the class that a file states."""
    if suffix == ".cls":
        return (), content.strip()
    if suffix == ".txt":
        lines = _clean_captions(content.split("\n"))
        return lines if len(lines) <= MAX_CAPTIONS else (" ".join(lines),), ""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return (), ""
    if not isinstance(values, dict):
        return (), ""
    captions = (_clean_captions(values.get(key)) for key in ("caption", "captions", "text", "title"))
    classes = (values.get(key) for key in ("class_name", "class", "label"))
    return next(filter(None, captions), ()), next((str(name) for name in classes if type(name) in (str, int)), "")


def _clean_captions(stated: Any) -> tuple[str, ...]:
    """Return the captions in a text or a list, without line ends and the like; none from anything else."""
    listed = stated if isinstance(stated, list) else [stated]
    texts = (" ".join(caption.split()) for caption in listed if isinstance(caption, str))
    return tuple(filter(None, texts))
