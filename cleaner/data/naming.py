"""Class names, labels and captions for data that lack some of them."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from cleaner.data.base import CaptionData
from cleaner.files import read_limited
from cleaner.labels import format_count
from cleaner.seed import derive_seed
from cleaner.text.forms import choose_article, find_stem, list_stems, match_stems
from cleaner.types import CleanerError

MAX_CLASSES_BYTES = 10_000_000
"""Bytes of the largest file of class names that is read."""


def assign_labels(
    rows: Sequence[int],
    *,
    captions: Sequence[str],
    row_classes: Sequence[str] | None,
    class_order: Sequence[str],
    classes: str | Sequence[str] | None,
) -> tuple[list[str], Tensor]:
    """Return class names and the label of each of `rows`, -1 where it is unknown.

    `captions` and `row_classes` (class names, where the data define them) cover all rows of the data. `class_order`
    lists the data's classes in their order. `classes` comes from the user: a file with one name per line, or names
    separated by commas.
    """
    names = _parse_class_names(classes)
    if not class_order:  # a column of classes that is empty
        row_classes = None
    labels = [-1] * len(rows)
    if row_classes is not None:
        names, positions = _match_classes(names, class_order)
        labels = [positions.get(row_classes[row], -1) for row in rows]
    if row_classes is None or "" in row_classes:
        label_caption = _caption_labeler(names)
        labels = [
            label_caption(captions[row]) if row_classes is None or not row_classes[row] else label
            for row, label in zip(rows, labels, strict=True)
        ]
    return names, torch.tensor(labels, dtype=torch.long)


def _match_classes(names: list[str], class_order: Sequence[str]) -> tuple[list[str], dict[str, int]]:
    """Return the class names to use, and class of the data -> index; `names` may be empty.

    Names that share none with the data's classes rename these, in their order. If the classes are numbers from 0 and
    the data lack some, each number is the index of its name.
    """
    # "Red" and "sea_lion" are the same class as "red" and "sea lion", not new names for two classes.
    by_normalized = {_normalize_name(name): name for name in names}
    if by_normalized.keys() & set(map(_normalize_name, class_order)):
        positions = {
            name: names.index(by_normalized[_normalize_name(name)])
            for name in class_order
            if _normalize_name(name) in by_normalized
        }
        return names, positions | {name: i for i, name in enumerate(names)}
    if len(names) > len(class_order) and "0" in class_order:
        numbers = {name: int(name) for name in class_order if name.isdecimal() and len(name) < 10}
        if len(numbers) == len(class_order) and max(numbers.values()) < len(names):
            return names, numbers
    if names and len(names) != len(class_order):
        raise CleanerError(
            f"{format_count(len(names), 'class names')} given for {format_count(len(class_order), 'classes')} "
            f"({', '.join(class_order[:5])} ...): "
            "give one for each, in this order."
        )
    return names or list(class_order), {name: i for i, name in enumerate(class_order)}


def _caption_labeler(names: Sequence[str]) -> Callable[[str], int]:
    """Return caption -> index of the class that it names, -1 for none or several."""
    if not names:
        return lambda caption: -1
    plurals = {stem: i for i, name in enumerate(names) for stem in list_stems(name)}
    positions = plurals | {name.lower(): i for i, name in enumerate(names)}
    pattern = match_stems(positions)

    def label_caption(caption: str) -> int:
        named = {positions[stem] for word in pattern.findall(caption) if (stem := find_stem(word, positions))}
        return named.pop() if len(named) == 1 else -1

    return label_caption


def to_words(name: str) -> str:
    """Return a class name as a prompt words it, composed (NFC): "sea lion" for sea_lion."""
    return " ".join(unicodedata.normalize("NFC", name.replace("_", " ")).split())


def _normalize_name(name: str) -> str:
    return to_words(name).casefold()


def _parse_class_names(classes: str | Sequence[str] | None) -> list[str]:
    if not isinstance(classes, str):
        names = [unicodedata.normalize("NFC", str(name).strip()) for name in classes or ()]
        if "" in names:
            raise CleanerError("classes has an empty name: leave it out.")
        _validate_unique(names, "classes")
        return names
    items = classes.split(",")
    if os.path.isfile(classes):  # checked first: a path may contain commas
        try:
            items = read_limited(Path(classes), MAX_CLASSES_BYTES).decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise CleanerError(
                f"classes={classes} cannot be read ({type(error).__name__}): give a text file in UTF-8 with one name "
                "per line."
            ) from error
    names = [unicodedata.normalize("NFC", name.strip()) for name in items if name.strip()]
    _validate_unique(names, f"classes={classes[:60]}")
    if len(names) < 2:
        fault = "holds fewer than two class names" if os.path.isfile(classes) else "is no file, and not two class names"
        raise CleanerError(
            f"classes={classes[:60]} {fault}: give a text file with one name per line, or names separated by commas."
        )
    return names


def _validate_unique(names: Sequence[str], option: str) -> None:
    counts = Counter(map(_normalize_name, names))
    if duplicates := [name for name in names if counts[_normalize_name(name)] > 1]:
        raise CleanerError(
            f"{option} has {duplicates[0]!r} twice: make the names different, as in '{duplicates[0]} (2)'."
        )


def sort_class_names(classes: Iterable[str]) -> list[str]:
    """Return the different class names sorted, numbers by value: 2 before 10."""
    names = sorted(set(classes) - {""})
    try:
        return sorted(names, key=float)
    except ValueError:
        return names


def fill_template(class_name: str, key: str) -> str:
    """Return a caption for an image with a class but no caption; `key` determines the template."""
    templates = CaptionData.templates
    return fix_articles(templates[derive_seed("caption", key) % len(templates)].format(class_name))


def fix_articles(caption: str) -> str:
    """Return a caption with "a" or "an" as the next word is spoken: "an American robin", "a unicycle"."""
    return re.sub(r"\ba (?=([\w-]+))", lambda match: f"{choose_article(match[1])} ", caption)


def pick_caption(captions: Sequence[str], key: str) -> str:
    """Return one of an image's captions; `key` determines which."""
    return captions[derive_seed("caption", key) % len(captions)]
