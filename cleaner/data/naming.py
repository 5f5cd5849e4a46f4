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


def assign_labels(
    rows: Sequence[int],
    captions: Sequence[str],
    row_classes: Sequence[str] | None,
    ordered_classes: Sequence[str],
    classes: str | Sequence[str] | None,
) -> tuple[list[str], Tensor]:
    """Return class names and the label of each of `rows`, -1 where it is not known.

    `captions` and, where the data have them, the `row_classes` class names are those of all rows; `ordered_classes` are the data's
    classes in their order; `classes` is what the user says: a file with one per line, or names with commas.
    """
    names = _parse_class_names(classes)
    if row_classes is not None:
        # "Red" and "sea_lion" are the same class as "red" and "sea lion", and not a new word for one in its place.
        same = {_normalize_name(name): name for name in names}
        if not names or not same.keys() & set(map(_normalize_name, ordered_classes)):
            if names and len(names) != len(ordered_classes):
                raise CleanerError(
                    f"{len(names)} class names were given for {len(ordered_classes)} classes ({', '.join(ordered_classes[:5])} ...): give one "
                    "for each, in this order."
                )
            # The given names are other words for the data's own classes, in their order.
            position = {name: i for i, name in enumerate(ordered_classes)}
            names = names or list(ordered_classes)
        else:
            position = {
                name: names.index(same[_normalize_name(name)])
                for name in ordered_classes
                if _normalize_name(name) in same
            }
            position |= {name: i for i, name in enumerate(names)}
        labels = [position.get(row_classes[row], -1) for row in rows]
    else:
        labels = [-1] * len(rows)
    if row_classes is None or "" in row_classes:
        told = _caption_labeler(names)
        labels = [
            told(captions[row]) if row_classes is None or not row_classes[row] else label
            for row, label in zip(rows, labels, strict=True)
        ]
    return names, torch.tensor(labels, dtype=torch.long)


def _caption_labeler(names: Sequence[str]) -> Callable[[str], int]:
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


def _normalize_name(name: str) -> str:
    return name.replace("_", " ").casefold()


def _parse_class_names(classes: str | Sequence[str] | None) -> list[str]:
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


def sort_class_names(classes: Iterable[str]) -> list[str]:
    """Return the different class names sorted, numbers by their value: 2 before 10."""
    names = sorted(set(classes) - {""})
    try:
        return sorted(names, key=float)
    except ValueError:
        return names


def fill_template(class_name: str, key: str) -> str:
    """Return a caption for a picture of which only the class is known."""
    templates = CaptionData.templates
    caption = templates[derive_seed("caption", key) % len(templates)].format(class_name)
    return re.sub(r"\ba (?=[aeiou])", "an ", caption)


def pick_caption(captions: Sequence[str], key: str) -> str:
    """Return one of several captions of a picture, always the same one."""
    return captions[derive_seed("caption", key) % len(captions)]
