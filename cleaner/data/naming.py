"""Classes and captions of data that have only one of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from cleaner.data.base import CaptionData
from cleaner.seed import derive_seed
from cleaner.types import CleanerError

SPLIT_NAMES = {"train": "train", "training": "train", "val": "validation", "validation": "validation", "test": "test"}
"""What folders and tables call their splits, in small letters."""


def labelled(
    rows: Sequence[int],
    captions: Sequence[str],
    known: Sequence[str] | None,
    own: Sequence[str],
    classes: str | Sequence[str] | None,
) -> tuple[list[str], Tensor]:
    """Return class names and the label of each of `rows`, -1 where it is not known.

    `captions` and, where the data have them, the `known` class names are those of all rows; `own` are the data's
    classes in their order; `classes` is what the user says: a file with one per line, or names with commas.
    """
    names = _names(classes)
    if known is not None:
        # "Red" and "sea_lion" are the same class as "red" and "sea lion", and not a new word for one in its place.
        same = {_plain(name): name for name in names}
        if not names or not same.keys() & set(map(_plain, own)):
            if names and len(names) != len(own):
                raise CleanerError(
                    f"{len(names)} class names were given for {len(own)} classes ({', '.join(own[:5])} ...): give one "
                    "for each, in this order."
                )
            # The given names are other words for the data's own classes, in their order.
            position = {name: i for i, name in enumerate(own)}
            names = names or list(own)
        else:
            position = {name: names.index(same[_plain(name)]) for name in own if _plain(name) in same}
            position |= {name: i for i, name in enumerate(names)}
        labels = [position.get(known[row], -1) for row in rows]
    else:
        labels = [-1] * len(rows)
    if known is None or "" in known:
        told = _by_caption(names)
        labels = [
            told(captions[row]) if known is None or not known[row] else label
            for row, label in zip(rows, labels, strict=True)
        ]
    return names, torch.tensor(labels, dtype=torch.long)


def _by_caption(names: Sequence[str]) -> Callable[[str], int]:
    """Return caption -> the class that it names, -1 where it names none or several."""
    if not names:
        return lambda caption: -1
    longest = sorted(names, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, longest))})(?:e?s)?(?!\w)", re.IGNORECASE)
    position = {name.lower(): i for i, name in enumerate(names)}

    def told(caption: str) -> int:
        # Not all that differs by case for `re` does for `lower`: a dotless i.
        found = {position[word.lower()] for word in pattern.findall(caption) if word.lower() in position}
        return found.pop() if len(found) == 1 else -1

    return told


def _plain(name: str) -> str:
    return name.replace("_", " ").casefold()


def _names(classes: str | Sequence[str] | None) -> list[str]:
    if not isinstance(classes, str):
        return list(classes or ())
    given = classes.split(",")
    if os.path.isfile(classes):  # first, for a path may hold commas
        try:
            given = Path(classes).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise CleanerError(
                f"classes={classes} cannot be read ({type(error).__name__}): give a text file in UTF-8 with one name "
                "per line."
            ) from error
    names = [name.strip() for name in given if name.strip()]
    if len(set(names)) < max(2, len(names)):
        raise CleanerError(
            f"classes={classes[:60]} does not name two different classes: give a text file with one per line, or names "
            "with commas between them."
        )
    return names


def in_order(classes: Iterable[str]) -> list[str]:
    """Return the different class names sorted, numbers by their value: 2 before 10."""
    names = sorted(set(classes) - {""})
    try:
        return sorted(names, key=float)
    except ValueError:
        return names


def templated(class_name: str, key: str) -> str:
    """Return a caption for a picture of which only the class is known."""
    templates = CaptionData.templates
    caption = templates[derive_seed("caption", key) % len(templates)].format(class_name)
    return re.sub(r"\ba (?=[aeiou])", "an ", caption)


def one_of(captions: Sequence[str], key: str) -> str:
    """Return one of several captions of a picture, always the same one."""
    return captions[derive_seed("caption", key) % len(captions)]
