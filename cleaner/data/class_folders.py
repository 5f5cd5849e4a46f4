"""Class folders, on disk, in a zip or in tar shards: class, split and caption of each image from its path."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable

from cleaner.data.naming import sort_class_names
from cleaner.data.pairs import PairTable
from cleaner.data.splits import SPLIT_NAMES, find_split
from cleaner.models.architectures import IMAGENET_CLASS_NAMES


def tabulate_class_folders(keys: Iterable[str], read: Callable[[str], bytes]) -> PairTable:
    """Return the images in class folders, or in folders of splits that hold these; other images are left out.

    `keys` are paths with "/". Folders around the class folders, or around those of the splits, do not count, nor does
    a second folder that is alone in one of its name (seg_train/seg_train/sea), as some archives unpack.
    """
    paths = {key: split_path(key) for key in sorted(keys)}
    paths = {key: path for key, path in paths.items() if not is_hidden(path)}
    depth = _count_wrappers(paths.values())
    outside = [key for key, path in paths.items() if len(path) <= depth]
    paths = {key: path[depth:] for key, path in paths.items() if len(path) > depth}
    inner: dict[str, set[str]] = defaultdict(set)
    for path in paths.values():
        if len(path) > 1:
            inner[path[0]].add(path[1])
    paths = {key: path[1:] if inner.get(path[0]) == {path[0]} else path for key, path in paths.items()}
    splits = _find_splits(inner, {path[0] for path in paths.values() if len(path) > 2})
    level = 1 if splits else 0
    outside += [key for key, path in paths.items() if len(path) < level + 2 or (splits and path[0] not in splits)]
    left_out = set(outside)
    paths = {key: path for key, path in paths.items() if key not in left_out}
    table = PairTable(
        keys=list(paths), captions=[""] * len(paths), read=read, classes=[path[level] for path in paths.values()]
    )
    folders = Counter(key.rpartition("/")[0] for key in outside)
    table.skipped_rows = [
        f"{name or 'outside of folders'}: {count:,} without a class" for name, count in folders.items()
    ]
    if splits:
        table.splits = [splits[path[0]] for path in paths.values()]
    _name_imagenet_classes(table)
    return table


def _find_splits(tops: Collection[str], deep: Collection[str]) -> dict[str, str]:
    """Return the folders among `tops` that are splits, and which; `deep` are those that hold folders.

    Their names are the word train, val or test. A longer name with that word counts if no folder has the word alone
    (train_mini next to train is a copy of some images), and if there is a split for training and one that is not.
    Empty if they hold images themselves and are next to others.
    """
    exact = {top: SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
    longer = {top: split for top in tops if (split := find_split(top)) and split not in exact.values()}
    splits = exact | longer
    if not {"train"} < set(splits.values()):  # a class named train_station
        splits = exact
    is_class = len(splits) < len(tops) and not splits.keys() & deep  # a class named train, next to cars and planes
    return {} if is_class else splits


def _count_wrappers(paths: Collection[list[str]]) -> int:
    """Return how many outer folders wrap all class folders; a few stray images next to them do not matter."""
    depth = 0
    while (
        len({path[depth] for path in paths if len(path) > depth + 1}) == 1
        and sum(len(path) > depth + 2 for path in paths) > len(paths) / 2
    ):
        depth += 1
    return depth


def split_path(key: str) -> list[str]:
    """Return the folders of a path with "/", and its file."""
    return [part for part in key.split("/") if part not in ("", ".")]


def is_hidden(path: Iterable[str]) -> bool:
    """Return whether a split path belongs to the system or a notebook rather than the data: ._1.jpg of macOS."""
    return any(part.startswith(".") for part in path)


def _name_imagenet_classes(table: PairTable) -> None:
    """Name ImageNet's 1,000 folders, n01440764 and so on, in words, in place and in their order."""
    folders = sort_class_names(table.classes or ())
    if len(folders) != len(IMAGENET_CLASS_NAMES) or not all(re.fullmatch(r"n\d{8}", folder) for folder in folders):
        return
    # Some ImageNet names occur twice (crane, maillot); the folder's name makes them unique.
    names = {
        folder: f"{name} ({folder})" if IMAGENET_CLASS_NAMES.count(name) > 1 else name
        for folder, name in zip(folders, IMAGENET_CLASS_NAMES, strict=True)
    }
    table.classes = [names[folder] for folder in table.classes or []]
    table.class_names = list(names.values())
