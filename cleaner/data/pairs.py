"""FileData: pairs whose pictures lie in files; read on demand, decoded by threads, checked before any work begins."""

from __future__ import annotations

import copy
import os
import stat
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from cleaner.data.base import CaptionData, Indices
from cleaner.data.naming import assign_labels, sort_class_names
from cleaner.models.framing import ImageTransform, decode_image, read_image_header
from cleaner.seed import derive_seed
from cleaner.types import CleanerError, OnStep, StepReport

SPLITS = ("train", "clean", "validation", "test", "all")
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.05
"""Shares that are held out where the data do not say which pairs are for tests."""
MAX_FULL_CHECK_PAIRS = 20_000
"""Up to so many pairs each picture is decoded once at loading; above, only its beginning and end are looked at."""
CHECK_CHUNK = 512
MAX_PREFETCHED = 1024
"""Most pictures that wait decoded for a reader."""
END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}


@dataclass
class PairTable:
    """What a source found: one row per pair, before a split is chosen.

    Attributes:
        keys: names of pictures, unique within the source; `read(key)` returns the file's bytes (or the picture).
        captions: one per key.
        classes: class name per key, where the data know it.
        class_names: classes in the data's own order; default those of `classes`, sorted, numbers by value.
        splits: "train", "validation" or "test" per key, where the data know it.
        bad: rows that are no pairs, in words.
    """

    keys: list[str]
    captions: list[str]
    read: Callable[[str], bytes | Image.Image]
    classes: list[str] | None = None
    class_names: list[str] | None = None
    splits: list[str] | None = None
    skipped_rows: list[str] = field(default_factory=list)


class FileData(CaptionData):
    """Pairs of one split of a `PairTable`.

    Where the table knows no test pairs, a fifth of the pairs (by a hash of the picture's name) is "test", a twentieth
    "validation". "train" takes the first `size` of the rest, "clean" the last, so that attacker and defender share no
    pair while both together ask for no more than there are. "all" takes every pair, whatever its split.

    `classes` names the classes: a text file with one per line, or names with commas; default what the data say. Where
    the data know no class per picture, a caption that names exactly one of them gives the label. Broken pictures are
    left out and named in `broken`; more than `most_broken` of them stop the load. `check`: "full" decodes every
    picture once, "quick" looks at beginning and end, "auto" is full up to 20,000 pairs.
    """

    path_options: ClassVar[tuple[str, ...]] = ("root", "annotations", "classes")
    """Options that may name a file or folder."""

    def __init__(
        self,
        table: PairTable,
        name: str,
        /,  # what a source says, no option of its user
        split: str = "train",
        size: int | None = None,
        seed: int = 0,
        classes: str | Sequence[str] | None = None,
        check: str = "auto",
        most_broken: float | str = 0.05,
        on_step: OnStep | None = None,
    ) -> None:
        if split not in SPLITS:
            raise CleanerError(f"split {split!r} is not known. Choose one of: {', '.join(SPLITS)}.")
        if size is not None and size <= 0:
            raise CleanerError(f"size must be at least 1, not {size}.")
        try:
            allowed = float(most_broken)
        except ValueError:
            allowed = -1.0
        if not 0 <= allowed <= 1:
            raise CleanerError(f"most_broken is a share between 0 and 1, not {most_broken}.")
        if check not in ("auto", "full", "quick"):
            raise CleanerError(f"check must be auto, full or quick, not {check!r}.")
        if not table.keys:
            why = f" ({table.skipped_rows[0]})" if table.skipped_rows else ""
            raise CleanerError(f"{name} holds no pairs of picture and caption{why}: check the path and its layout.")
        for text in chain(table.keys, table.captions, table.classes or ()):
            if not text.isascii() and text != text.encode(errors="replace").decode():
                raise CleanerError(
                    f"{ascii(text)[:200]} in {name} is no text in UTF-8: write this name or caption anew."
                )
        self._init_arguments = (name, seed, classes, check, most_broken, on_step)
        self.table, self.split, self.name = table, split, f"{name}/{split}"
        rows = select_rows(table, split, seed)[:size]
        if not rows:
            raise CleanerError(f"no pair of {name} is in its {split} split: give more pairs.")
        full = check == "full" or (check == "auto" and len(rows) <= MAX_FULL_CHECK_PAIRS)
        self.skipped_items: list[str] = list(table.skipped_rows)
        self.rows = self._find_readable(rows, full, allowed, on_step)
        self.captions = [table.captions[row] for row in self.rows]
        own = table.class_names or sort_class_names(table.classes or ())
        self.class_names, self.labels = assign_labels(self.rows, table.captions, table.classes, own, classes)
        self.split_rule = describe_splits(table)
        self.transform = ImageTransform(224)
        self.image_size = 224
        self._prefetched: dict[int, Future[Tensor]] = {}

    def _find_readable(self, rows: list[int], full: bool, max_broken_share: float, on_step: OnStep | None) -> list[int]:
        """Return the rows whose pictures can be read; name the others in `broken`."""
        began, good = time.perf_counter(), []
        for first in range(0, len(rows), CHECK_CHUNK):
            part = rows[first : first + CHECK_CHUNK]
            for row, fault in zip(
                part, get_decode_pool().map(lambda row: self._find_fault(row, full), part), strict=True
            ):
                if fault is None:
                    good.append(row)
                else:
                    self.skipped_items.append(fault)
            if on_step is not None:
                done = min(first + CHECK_CHUNK, len(rows))
                on_step(StepReport("check pictures", done, len(rows), time.perf_counter() - began))
        broken = len(rows) - len(good)
        if broken > max_broken_share * len(rows):
            named = "; ".join(self.skipped_items[-broken:][:3])
            raise CleanerError(
                f"{broken:,} of {len(rows):,} pictures of {self.name} cannot be read, more than {max_broken_share:.0%}: {named}. "
                "Check the paths, or allow more with most_broken."
            )
        if not good:
            raise CleanerError(f"no picture of {self.name} can be read: check the paths.")
        return good

    def _find_fault(self, row: int, full: bool) -> str | None:
        key = self.table.keys[row]
        try:
            content = self.table.read(key)
            if isinstance(content, Image.Image):
                return None
            if full:
                decode_image(content, key, side=32)
            elif not is_complete(content):
                return f"{key} cannot be read as a picture"
        except CleanerError as error:
            return str(error).split(":")[0]
        except (OSError, KeyError, ValueError) as error:  # ValueError: no name of a file can be like this
            return f"{key} cannot be read ({type(error).__name__})"
        return None

    def _decode(self, row: int) -> Tensor:
        """Return one picture, (3, H, W) in [0, 1]; runs in a thread."""
        key = self.table.keys[row]
        try:
            content = self.table.read(key)
            picture = content if isinstance(content, Image.Image) else decode_image(content, key, self.transform.size)
        except (OSError, KeyError, ValueError) as error:
            raise CleanerError(
                f"the picture {key} cannot be read any more ({type(error).__name__}): load with check=full to leave "
                "such pictures out."
            ) from error
        return self.transform(picture).contiguous().float().div_(255)

    def images(self, indices: Indices) -> Tensor:
        rows = torch.as_tensor(indices, dtype=torch.long).reshape(-1).tolist()
        futures = [self._prefetched.pop(i) if i in self._prefetched else self._submit_decode(i) for i in rows]
        if not futures:
            return torch.empty(0, 3, self.image_size, self.image_size)
        return torch.stack([future.result() for future in futures])

    def _submit_decode(self, index: int) -> Future[Tensor]:
        return get_decode_pool().submit(self._decode, self.rows[index])

    def prefetch(self, indices: Indices) -> None:
        for i in torch.as_tensor(indices, dtype=torch.long).reshape(-1).tolist():
            if i not in self._prefetched and len(self._prefetched) < MAX_PREFETCHED:
                self._prefetched[i] = self._submit_decode(i)

    def with_transform(self, transform: ImageTransform) -> CaptionData:
        if transform == self.transform:
            return self
        other = copy.copy(self)
        other.transform, other.image_size, other._prefetched = transform, transform.size, {}
        return other

    def load_split(self, split: str) -> CaptionData | None:
        name, seed, classes, check, most_broken, on_step = self._init_arguments
        data = FileData(self.table, name, split, None, seed, classes, check, most_broken, on_step)
        return data.with_transform(self.transform)


@lru_cache(maxsize=1)
def get_decode_pool() -> ThreadPoolExecutor:
    """Return the threads that read and decode; PIL lets others work while it decodes."""
    return ThreadPoolExecutor(max_workers=min(16, (os.cpu_count() or 1) + 2), thread_name_prefix="pictures")


def is_complete(content: bytes) -> bool:
    """Whether a file's beginning is a picture's and its end is that of a whole one."""
    try:
        form = read_image_header(content, "").format or ""
    except CleanerError:
        return False
    return END_MARKERS.get(form, b"") in content[-64:]


def select_rows(table: PairTable, split: str, seed: int) -> list[int]:
    """Return the rows of a split, in an order that follows from the seed and the pictures' names."""
    known = set(table.splits or ())
    drawn: list[tuple[int, int]] = []
    wanted = "train" if split == "clean" else split
    for row, key in enumerate(table.keys):
        number = derive_seed("split", seed, key)
        place, own = number / 2**63, table.splits[row] if table.splits else "train"
        if own == "train" and "test" not in known and place < TEST_SHARE:
            own = "test"
        elif own == "train" and "validation" not in known and TEST_SHARE <= place < TEST_SHARE + VALIDATION_SHARE:
            own = "validation"
        if wanted in (own, "all"):
            drawn.append((number, row))
    rows = [row for _, row in sorted(drawn)]
    return rows[::-1] if split == "clean" else rows


def describe_splits(table: PairTable) -> str:
    """Return in words how `select_rows` holds out pairs."""
    shares = {"test": TEST_SHARE, "validation": VALIDATION_SHARE}
    known = set(table.splits or ())
    return "; ".join(
        f"{split}: as the data say"
        if split in known
        else f"{split}: {share:.0%} of the other pairs, by a hash of each picture's name"
        for split, share in shares.items()
    )


def read_limited(path: Path, max_bytes: int = 64_000_000) -> bytes:
    """Return the bytes of a file of at most `max_bytes` bytes; a device or pipe, which may have no end, is none."""
    if not stat.S_ISREG((facts := path.stat()).st_mode):
        raise CleanerError(f"{path} is no file: name one.")
    if facts.st_size > max_bytes:
        raise CleanerError(f"{path} is larger than {max_bytes // 1_000_000} MB: make it smaller.")
    return path.read_bytes()
