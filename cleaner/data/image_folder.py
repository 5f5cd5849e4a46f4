"""A folder with one folder of images per class (torchvision's ImageFolder); captions from templates."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import chain
from os.path import isdir
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from cleaner.data.base import DATASETS
from cleaner.data.naming import sort_class_names
from cleaner.data.pairs import FileData, PairTable, read_image
from cleaner.data.splits import SPLIT_NAMES
from cleaner.models.architectures import IMAGENET_CLASS_NAMES
from cleaner.models.framing import IMAGE_SUFFIXES
from cleaner.types import CleanerError

TABLE_SUFFIXES = (".csv", ".tsv")


@DATASETS.register("image_folder")
class ImageFolderData(FileData):
    """`image_folder:/path`; top folders named train, val and test are its splits.

    Class names are the folders' names. ImageNet's thousand folders get their names in words; for other codes set
    `classes`, in the order of the folders.
    """

    def __init__(self, path: str = "", **file_options: Any) -> None:
        root = Path(path)
        if not path or not isdir(root):  # not Path.is_dir: it raises for an overlong name
            raise CleanerError(f"there is no folder {path!r}: give one, as in image_folder:/folder/images.")
        try:
            table = _tabulate(root)
        except OSError as error:  # a folder without permission, or one that was deleted meanwhile
            raise CleanerError(f"{root} cannot be read ({error.strerror}): check its folders and links.") from error
        super().__init__(table, f"image_folder:{root.resolve()}", **file_options)

    @staticmethod
    def recognizes(path: Path) -> bool:
        return path.is_dir() and not any(any(path.glob(f"*{suffix}")) for suffix in (".tar", ".parquet", ".arrow"))


def _tabulate(root: Path) -> PairTable:
    """Return the images in the class folders of `root`, or of its folders of splits."""
    keys = []
    for top in _list_subfolders(root):
        files = [top.rglob("*")]
        if top.name.lower() in SPLIT_NAMES:  # rglob follows a link only where it starts; classes may be links
            files = [top.iterdir(), *(folder.rglob("*") for folder in _list_subfolders(top))]
        keys += [file.relative_to(root).as_posix() for file in chain(*files) if file.suffix.lower() in IMAGE_SUFFIXES]
    table = tabulate_class_folders(keys, lambda key: read_image(root / key))
    tables = [file for file in sorted(root.iterdir()) if file.suffix.lower() in TABLE_SUFFIXES]
    if tables and len(set(table.classes or ())) < 2:
        raise CleanerError(f"{root} has no class folders, but a table: give that as the data, {tables[0]}.")
    return table


def tabulate_class_folders(keys: Iterable[str], read: Callable[[str], bytes], *, depth: int = 0) -> PairTable:
    """Return the images in class folders, or in folders of splits that hold these; other images are left out.

    `keys` are paths with "/"; the class folders, or those of the splits, come after the first `depth` folders.
    """
    paths = {key: split_path(key)[depth:] for key in sorted(keys) if not is_hidden(PurePosixPath(key))}
    tops = {path[0] for path in paths.values() if len(path) > 1}
    splits = {top: SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
    if len(splits) < len(tops) and not any(path[0] in splits and len(path) > 2 for path in paths.values()):
        splits = {}  # a class named train, next to cars and planes
    level = 1 if splits else 0
    paths = {key: path for key, path in paths.items() if len(path) > level + 1 and (not splits or path[0] in splits)}
    table = PairTable(list(paths), [""] * len(paths), read, [path[level] for path in paths.values()])
    if splits:
        table.splits = [splits[path[0]] for path in paths.values()]
    assign_class_names(table)
    return table


def split_path(key: str) -> list[str]:
    """Return the folders of a path with "/", and its file."""
    return [part for part in key.split("/") if part not in ("", ".")]


def is_hidden(path: PurePath) -> bool:
    """Return whether a file belongs to the system or a notebook rather than the data: ._1.jpg of macOS."""
    return any(part.startswith(".") for part in path.parts)


def _list_subfolders(folder: Path) -> list[Path]:
    return sorted(inner for inner in folder.iterdir() if inner.is_dir() and not inner.name.startswith("."))


def assign_class_names(table: PairTable) -> None:
    """Name the classes in words, in place: ImageNet's folders by order, others by the folder's name."""
    folders = sort_class_names(table.classes or ())
    names = {folder: folder.replace("_", " ") for folder in folders}
    if len(folders) == len(IMAGENET_CLASS_NAMES) and all(re.fullmatch(r"n\d{8}", folder) for folder in folders):
        # Some ImageNet names occur twice (crane, maillot); the folder's name makes them unique.
        names = {
            folder: f"{name} ({folder})" if IMAGENET_CLASS_NAMES.count(name) > 1 else name
            for folder, name in zip(folders, IMAGENET_CLASS_NAMES, strict=True)
        }
    table.classes = [names[folder] for folder in table.classes or []]
    table.class_names = list(dict.fromkeys(names.values()))  # a_b and "a b" are one class
