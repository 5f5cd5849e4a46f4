"""Splits of data in files: the data's own ones, or a hash of each image's name."""

import re
from collections.abc import Sequence

from cleaner.seed import derive_seed

SPLITS = ("train", "clean", "validation", "test", "all")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "eval"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Lower-case names of splits in folders, files and tables -> our names."""
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.05
"""Shares held out where the data define no such split."""


def select_rows(keys: Sequence[str], splits: Sequence[str] | None, split: str, seed: int) -> list[int]:
    """Return the rows of `split`, in an order determined by the seed and the images' names (`keys`)."""
    defined = set(splits or ())
    wanted = "train" if split == "clean" else split
    selected: list[tuple[int, int]] = []
    for row, key in enumerate(keys):
        number = derive_seed("split", seed, key)
        fraction, row_split = number / 2**63, splits[row] if splits else "train"
        if row_split == "train" and "test" not in defined and fraction < TEST_SHARE:
            row_split = "test"
        elif (
            row_split == "train"
            and "validation" not in defined
            and TEST_SHARE <= fraction < TEST_SHARE + VALIDATION_SHARE
        ):
            row_split = "validation"
        if wanted in (row_split, "all"):
            selected.append((number, row))
    rows = [row for _, row in sorted(selected)]
    return rows[::-1] if split == "clean" else rows


def find_split(name: str) -> str | None:
    """Return the split that is a word of a file's or a folder's name ("cc3m-val-0001", "test_set", "val2017")."""
    return next((SPLIT_NAMES[word] for word in re.split(r"[-_. \d]+", name.lower()) if word in SPLIT_NAMES), None)


def describe_splits(splits: Sequence[str] | None) -> str:
    """Return in words how `select_rows` holds out pairs."""
    shares = {"test": TEST_SHARE, "validation": VALIDATION_SHARE}
    defined = set(splits or ())
    return "; ".join(
        f"{split}: defined by the data"
        if split in defined
        else f"{split}: {share:.0%} of the other pairs, by a hash of each image's name"
        for split, share in shares.items()
    )
