"""FileData: pairs whose images are files; checked at loading, read on demand, decoded by threads."""

import copy
import os
import tarfile
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from cleaner.access import validate_allowed
from cleaner.data.base import CaptionData, Indices, hash_content, to_rows, validate_choice
from cleaner.data.naming import assign_labels, fill_template, sort_class_names, to_words
from cleaner.data.splits import SPLITS, describe_splits, select_rows
from cleaner.files import MAX_IMAGE_BYTES, read_limited
from cleaner.labels import format_count
from cleaner.models.framing import ImageTransform, decode_image, read_image_header
from cleaner.types import CleanerError, OnStep, start_progress

CHECKS = ("auto", "full", "quick")
MAX_FULL_CHECK_PAIRS = 20_000
"""Fully decode every image up to this many pairs; above, check header and end marker alone."""
BROKEN_DEVIATIONS = 2.0
"""Standard deviations by which the broken images of a sample may exceed the share that is allowed of all."""
CHECK_CHUNK = 512
"""Images per progress report of the check."""
MAX_PREFETCHED = 1024
"""Most decoded images waiting for a reader."""
TAR_ERRORS = (tarfile.TarError, OSError, EOFError, ValueError, ArithmeticError, RecursionError)
"""What Python's reader raises for a damaged or crafted tar file."""
END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}


@dataclass(kw_only=True)
class PairTable:
    """All pairs of a source, one row per pair, before a split is selected.

    Attributes:
        keys: names of images; `read(key)` returns the file's bytes (or the image). One for each caption of an image.
        captions: one per key; "" for one from the class's name, where the data have classes.
        classes: class name per key, where the data define it.
        class_names: classes in the data's own order; default: those of `classes`, sorted, numbers by value.
        splits: "train", "validation" or "test" per key, where the data define it.
        images: name of the image per key, where several keys can have the same one.
        skipped_rows: rows that are not pairs, each with its reason.
    """

    keys: list[str]
    captions: list[str]
    read: Callable[[str], bytes | Image.Image]
    classes: list[str] | None = None
    class_names: list[str] | None = None
    splits: list[str] | None = None
    skipped_rows: list[str] = field(default_factory=list)
    images: list[str] | None = None

    @property
    def image_names(self) -> list[str]:
        """Name of the image per row; rows of one image belong to the same split."""
        return self.keys if self.images is None else self.images


class FileData(CaptionData):
    """Pairs of one split of a `PairTable`.

    Without test pairs in the table, a fifth of the pairs (by a hash of the image's name) is "test", a twentieth
    "validation". "train" takes the first `size` of the rest, "clean" the last, so attacker and defender share no
    image while their sizes add up to no more than the rest. "all" takes every pair of every split. Of an image with
    several captions, "validation" and "test" take one: measured shares count images.

    `classes` sets the class names: a text file with one per line, or names separated by commas; default: the data's
    own. Where the data define no class per image, a caption that names exactly one class gives the label. Broken
    images are left out and listed in `skipped_items`; a share above `most_broken` raises. `check`: "full" decodes
    every image once, "quick" checks the header and, of JPEG and PNG, the end marker; "auto" is full up to
    `MAX_FULL_CHECK_PAIRS` pairs.
    """

    path_options: ClassVar[tuple[str, ...]] = ("root", "annotations", "classes")
    """Options that may be a file or folder."""

    def __init__(
        self,
        table: PairTable,
        name: str,
        /,  # set by the source, no option of its user
        split: str = "train",
        size: int | None = None,
        *,
        seed: int = 0,
        classes: str | Sequence[str] | None = None,
        check: str = "auto",
        most_broken: float = 0.05,
        on_step: OnStep | None = None,
    ) -> None:
        validate_choice("split", split, SPLITS)
        validate_choice("check", check, CHECKS)
        if size is not None and size <= 0:
            raise CleanerError(f"the number of pairs must be at least 1, not {size}.")
        if not 0 <= most_broken <= 1:
            raise CleanerError(f"most_broken is a share between 0 and 1, not {most_broken}.")
        _validate_table(table, name)
        _name_in_words(table)
        self.table, self.split, self.name = table, split, f"{name}/{split}"
        self._source_name, self._seed, self._classes, self._on_step = name, seed, classes, on_step
        self._check, self._max_broken_share = check, most_broken
        self.skipped_items: list[str] = list(table.skipped_rows)
        rows = self._take(select_rows(table.image_names, table.splits, split, seed), size)
        if not rows:
            raise CleanerError(f"the {split} split of {name} is empty: add more pairs.")
        self.rows = self._find_readable(rows)
        class_order = table.class_names or sort_class_names(table.classes or ())
        self.class_names, self.labels = assign_labels(
            self.rows, captions=table.captions, row_classes=table.classes, class_order=class_order, classes=classes
        )
        if len(self.class_names) == 1 and not any(table.captions):  # such as Flickr8k, whose captions are in a file
            raise CleanerError(
                f"{name} has no captions and one class, {self.class_names[0]!r}: give a table of captions "
                "(csv:FILE root=FOLDER), or one folder for each of several classes."
            )
        self.skipped_items += self._list_unnamed_classes()
        self.captions = [self._find_caption(*item) for item in zip(self.rows, self.labels.tolist(), strict=True)]
        self.split_rule = describe_splits(table.splits)
        self.transform = ImageTransform(224)
        self.image_size = 224
        self._prefetched: dict[int, Future[Tensor]] = {}

    def _find_caption(self, row: int, label: int) -> str:
        caption, classes = self.table.captions[row], self.table.classes
        if caption or classes is None:
            return caption
        class_name = self.class_names[label] if label >= 0 else classes[row]
        return fill_template(class_name, self.table.keys[row])

    def _take(self, rows: list[int], size: int | None) -> list[int]:
        """Return the first rows: of an image one to be measured on, and no image that "train" can have too."""
        names = self.table.image_names
        if self.split in ("validation", "test"):
            first = list({names[row]: row for row in reversed(rows)}.values())[::-1]
            if len(first) < len(rows):
                count = len(rows) - len(first)
                further = format_count(count, "further captions")
                self.skipped_items.append(f"{further} of {self.split} images: one of each is used")
            rows = first
        taken = rows[:size]
        if self.split == "clean" and len(taken) < len(rows):  # rows of one image are neighbors
            taken = [row for row in taken if names[row] != names[rows[len(taken)]]] or taken
        return taken

    def _list_unnamed_classes(self) -> list[str]:
        """Return a line if `classes` names some of the data's classes but not all."""
        classes = self.table.classes or [""] * len(self.table.keys)
        lost = [classes[row] for row, label in zip(self.rows, self.labels.tolist(), strict=True) if label < 0]
        names = sorted(set(lost) - {""})
        count = len(lost) - lost.count("")
        return [f"classes has no name for {', '.join(names[:5])}: {count:,} images have no class"] if names else []

    def _find_readable(self, rows: list[int]) -> list[int]:
        """Return the rows whose images can be read; add the others to `skipped_items`."""
        report, readable = start_progress(self._on_step, "check images", len(rows)), []
        full = self._check == "full" or (self._check == "auto" and len(rows) <= MAX_FULL_CHECK_PAIRS)
        expected = self._max_broken_share * len(rows)
        most_broken = expected + BROKEN_DEVIATIONS * expected**0.5  # the rows are a sample of the data
        for first in range(0, len(rows), CHECK_CHUNK):
            chunk = rows[first : first + CHECK_CHUNK]
            faults = get_decode_pool().map(lambda row: self._find_fault(row, full), chunk)
            for row, fault in zip(chunk, faults, strict=True):
                if fault is None:
                    readable.append(row)
                else:
                    self.skipped_items.append(fault)
            done = first + len(chunk)
            broken = done - len(readable)
            if broken > most_broken:  # do not look for a million files that are not there
                examples = "; ".join(self.skipped_items[-broken:][:3])
                raise CleanerError(
                    f"{broken:,} of {done:,} images of {self.name} cannot be read; more than "
                    f"{self._max_broken_share:.0%} of all seem broken: {examples}. Check the paths"
                    f"{', or raise most_broken' if readable else ''}."
                )
            report(done)
        if not readable:
            raise CleanerError(f"no image of {self.name} can be read: check the paths.")
        return readable

    def _find_fault(self, row: int, full: bool) -> str | None:
        key = self.table.keys[row]
        try:
            content = self.table.read(key)
            if isinstance(content, Image.Image):
                return None
            if full or not is_complete(content):  # a phone appends a film to a photo, which is complete all the same
                decode_image(content, key, side=32)
        except CleanerError as error:
            return str(error).rpartition(": ")[0]  # without what to do; names may have colons
        except (OSError, KeyError, ValueError) as error:  # ValueError: an impossible file name
            return f"{key} cannot be read ({type(error).__name__})"
        return None

    def _decode(self, row: int) -> Tensor:
        """Return one image, (3, H, W) in [0, 1]; runs in a thread."""
        key = self.table.keys[row]
        try:
            content = self.table.read(key)
            image = content if isinstance(content, Image.Image) else decode_image(content, key, self.transform.size)
        except (OSError, KeyError, ValueError) as error:
            raise CleanerError(
                f"the image {key} can no longer be read ({type(error).__name__}): load with check=full to leave such "
                "images out."
            ) from error
        return self.transform(image).contiguous().float().div_(255)

    def images(self, indices: Indices) -> Tensor:
        positions = to_rows(indices, len(self)).tolist()
        taken = [self._prefetched.pop(i, None) for i in positions]  # another thread may want the same image
        futures = [
            self._submit_decode(i) if future is None else future for i, future in zip(positions, taken, strict=True)
        ]
        if not futures:
            return torch.empty(0, 3, self.image_size, self.image_size)
        return torch.stack([future.result() for future in futures])

    def hash_images(self, indices: Indices) -> list[str]:
        rows = [self.rows[i] for i in to_rows(indices, len(self)).tolist()]
        return list(get_decode_pool().map(self._hash_file, rows))

    def _hash_file(self, row: int) -> str:
        """Return the hash of one file; of an image that comes decoded, of its pixels."""
        content = self.table.read(self.table.keys[row])
        return hash_content(content.convert("RGB").tobytes() if isinstance(content, Image.Image) else content)

    def _submit_decode(self, index: int) -> Future[Tensor]:
        return get_decode_pool().submit(self._decode, self.rows[index])

    def prefetch(self, indices: Indices) -> None:
        for i in to_rows(indices, len(self)).tolist():
            if i not in self._prefetched and len(self._prefetched) < MAX_PREFETCHED:
                self._prefetched[i] = self._submit_decode(i)

    def with_transform(self, transform: ImageTransform) -> CaptionData:
        if transform == self.transform:
            return self
        other = copy.copy(self)
        other.transform, other.image_size, other._prefetched = transform, transform.size, {}
        return other

    def count_training_pairs(self) -> int | None:
        return self._training_count

    @cached_property
    def _training_count(self) -> int:  # cached: it hashes all names of the table, and pages ask at every click
        return len(select_rows(self.table.image_names, self.table.splits, "train", self._seed))

    def load_split(self, split: str) -> CaptionData | None:
        if not select_rows(self.table.image_names, self.table.splits, split, self._seed):  # few images
            return None
        data = FileData(
            self.table,
            self._source_name,
            split,
            seed=self._seed,
            classes=self._classes,
            check=self._check,
            most_broken=self._max_broken_share,
            on_step=self._on_step,
        )
        return data.with_transform(self.transform)


def _validate_table(table: PairTable, name: str) -> None:
    """Raise `CleanerError` if a table has no pairs, or names or captions that are not valid Unicode."""
    if not table.keys:
        reason = f" ({table.skipped_rows[0]})" if table.skipped_rows else ""
        raise CleanerError(
            f"{name} has no pairs of image and caption{reason}: put images into one folder for each class, or list "
            "them with captions in a CSV file."
        )
    split_of: dict[str, str] = {}
    for image, split in zip(table.image_names, table.splits or (), strict=False):
        if split_of.setdefault(image, split) != split:
            raise CleanerError(
                f"{image} of {name} is in {split_of[image]!r} and in {split!r}: give all its rows the same split."
            )
    for text in chain(table.keys, table.captions, table.classes or ()):
        if not text.isascii() and text != text.encode(errors="replace").decode():
            raise CleanerError(f"{ascii(text)[:200]} in {name} is not valid UTF-8: rewrite this name or caption.")


def _name_in_words(table: PairTable) -> None:
    """Word the classes as prompts do, in place; those that differ by case alone are one; captions become NFC."""
    table.captions = [unicodedata.normalize("NFC", caption) for caption in table.captions]
    spellings: dict[str, str] = {}

    def spell(names: Sequence[str]) -> list[str]:
        return [spellings.setdefault(name.casefold(), name) for name in map(to_words, names)]

    if table.class_names is not None:
        table.class_names = list(dict.fromkeys(spell(table.class_names)))
    if table.classes is not None:
        table.classes = spell(table.classes)


@lru_cache(maxsize=1)
def get_decode_pool() -> ThreadPoolExecutor:
    """Return the threads that read and decode; PIL releases the GIL while it decodes."""
    return ThreadPoolExecutor(max_workers=min(16, (os.cpu_count() or 1) + 2), thread_name_prefix="images")


def is_complete(content: bytes) -> bool:
    """Return whether a file starts as an image and, for JPEG and PNG, has its end marker."""
    try:
        image_format = read_image_header(content, "").format or ""
    except CleanerError:
        return False
    return END_MARKERS.get(image_format, b"") in content[-64:]


def read_image(path: Path) -> bytes:
    """Return the bytes of an image file. Raises as `files.read_limited` and `files.validate_allowed`."""
    validate_allowed(path)
    return read_limited(path, MAX_IMAGE_BYTES)
