"""A sample of CIFAR-10 (Krizhevsky 2009) as image files and one table, for benchmarks.photos.

500 training and 100 test photos per class: from the folder cifar10_small below CLEANER_TEST_DATA with its captions,
else the first ones of torchvision's download with captions from templates.
"""

from __future__ import annotations

import csv
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torchvision import datasets

from cleaner.data.base import CaptionData, load_data
from cleaner.data.naming import fill_template
from cleaner.files import atomic_write, cache_root
from cleaner.seed import derive_seed

DATASET_NAME = "CIFAR-10 sample"
PHOTOS_PER_CLASS = {"train": 500, "test": 100}
"""Photos per class."""
VALIDATION_PER_CLASS = 75
"""Training photos per class that neither pretraining nor attack nor defense sees."""
SPLIT_SIZE = 2125
"""Pairs of the attacker and of the defender: disjoint halves of the training photos without validation."""
TABLE_NAME = "pairs.csv"
Sample = tuple[str, str, str]
"""File, caption, class."""


def photos_dir() -> Path:
    """Return the folder of photos, table and model; all of it can be regenerated."""
    return cache_root() / "photos"


def load_photos(role: str) -> CaptionData:
    """Return the pairs of "attack", "clean", "validation" or "test"."""
    split, size = {"attack": ("train", SPLIT_SIZE), "clean": ("clean", SPLIT_SIZE)}.get(role, (role, None))
    data = load_data(str(photos_dir() / TABLE_NAME), split=split, size=size)
    data.name = f"{DATASET_NAME}/{role}"  # without the path, which is of this machine
    return data


def ensure_photos() -> None:
    """Write missing photos and table to `photos_dir()`; the table last."""
    if (photos_dir() / TABLE_NAME).exists():
        return
    source = Path(os.environ.get("CLEANER_TEST_DATA", "")) / "cifar10_small"
    pairs = list(_extract_archives(source) if source.is_dir() else _download_cifar10())
    with (
        atomic_write(photos_dir() / TABLE_NAME) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(["filepath", "title", "class", "split"])
        for name in sorted({name for _, _, name in pairs}):
            of_class = [pair for pair in pairs if pair[2] == name]
            train = sorted(derive_seed("photos", key) for key, _, _ in of_class if key.startswith("train/"))
            held_out = set(train[:VALIDATION_PER_CLASS])
            for key, caption, _ in of_class:
                split = "validation" if derive_seed("photos", key) in held_out else key.partition("/")[0]
                table.writerow([key, caption, name, split])


def _extract_archives(source: Path) -> Iterator[Sample]:
    """Unpack both archives; yield the pairs of both tables."""
    for split, table in (("train", "captions.csv"), ("test", "captions_test.csv")):
        with tarfile.open(source / f"{split}.tar") as archive:
            archive.extractall(photos_dir(), filter="data")
        with (source / table).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield row["filepath"], row["title"], Path(row["filepath"]).parent.name


def _download_cifar10() -> Iterator[Sample]:
    """Download CIFAR-10 (170 MB) by torchvision; write the first photos of each class and yield their pairs."""
    for split, count in PHOTOS_PER_CLASS.items():
        source = datasets.CIFAR10(str(photos_dir() / "torchvision"), train=split == "train", download=True)
        for label, name in enumerate(source.classes):
            (photos_dir() / split / name).mkdir(parents=True, exist_ok=True)
            for number in np.flatnonzero(np.array(source.targets) == label)[:count]:
                key = f"{split}/{name}/{number:05d}.png"
                source[int(number)][0].save(photos_dir() / key)
                yield key, fill_template(name, key), name
