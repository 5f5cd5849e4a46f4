"""Class folders, on disk or in a zip: class, split and caption of each image from its path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from cleaner.data.naming import sort_class_names
from cleaner.data.pairs import PairTable
from cleaner.data.splits import SPLIT_NAMES
from cleaner.models.architectures import IMAGENET_CLASS_NAMES


def tabulate_class_folders(keys: Iterable[str], read: Callable[[str], bytes], *, depth: int = 0) -> PairTable:
    """Return the images in class folders, or in folders of splits that hold these; other images are left out.

    `keys` are paths with "/"; the class folders, or those of the splits, come after the first `depth` folders.
    """
    paths = {key: split_path(key) for key in sorted(keys)}
    # Hidden files belong to the system or a notebook rather than the data: ._1.jpg of macOS.
    paths = {key: path[depth:] for key, path in paths.items() if not any(part.startswith(".") for part in path)}
    tops = {path[0] for path in paths.values() if len(path) > 1}
    splits = {top: SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
    if len(splits) < len(tops) and not any(path[0] in splits and len(path) > 2 for path in paths.values()):
        splits = {}  # a class named train, next to cars and planes
    level = 1 if splits else 0
    paths = {key: path for key, path in paths.items() if len(path) > level + 1 and (not splits or path[0] in splits)}
    table = PairTable(list(paths), [""] * len(paths), read, [path[level] for path in paths.values()])
    if splits:
        table.splits = [splits[path[0]] for path in paths.values()]
    _assign_class_names(table)
    return table


def split_path(key: str) -> list[str]:
    """Return the folders of a path with "/", and its file."""
    return [part for part in key.split("/") if part not in ("", ".")]


def _assign_class_names(table: PairTable) -> None:
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
