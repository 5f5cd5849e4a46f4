"""CaptionData: the interface of images, captions and classes; `load_data` and its registry."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cleaner.access import validate_allowed, validate_built_in
from cleaner.data.options import ANY_OPTION, accepted_options, convert_option
from cleaner.files import expand_home, resolve_path
from cleaner.models.framing import ImageTransform, resize_square
from cleaner.registry import DATASETS as DATASETS  # part of this module's interface
from cleaner.registry import suggest
from cleaner.text.forms import find_stem, list_stems, match_stems
from cleaner.types import CleanerError

Indices = Sequence[int] | Tensor
"""Row numbers, or a bool mask of all pairs (`to_rows`)."""


class CaptionData(ABC):
    """Image-caption pairs with class labels.

    Attributes:
        captions: N captions.
        class_names: C names, as a prompt words them ("banana").
        labels: (N,) int64 class index; -1 where no single class applies (two objects, unknown): such pairs are used
            for training and left out of accuracy and ASR.
        image_size: side of the square images in px.
        templates: prompts with one "{}" for the class name, for the zero-shot classifier.
        name: the data's name in a run's config ("scenes/test").
        origin: name and options with which `load_data` returns any of its splits, JSON-ready and with absolute paths;
            None for data made otherwise. Sources name options of a single split in `split_options`.
        transfer_variants: registered data sets with the same classes in another style, for transfer accuracy.
        caption_choices: values of its option `clean_captions`, "full" by default; empty if it has none.
        format_summary: how the files were parsed (separator, columns), for display.
        skipped_items: what was left out or changed when the files were read, one line each; a line can stand for many.
        split_rule: how validation and test pairs are held out, for display.
    """

    captions: list[str]
    class_names: list[str]
    labels: Tensor
    image_size: int
    templates: tuple[str, ...] = ("a {}", "a photo of a {}", "a picture of a {}", "an image of a {}")
    name: str = ""
    origin: tuple[str, dict[str, Any]] | None = None
    transfer_variants: tuple[str, ...] = ()
    caption_choices: tuple[str, ...] = ()
    format_summary: str = ""
    skipped_items: Sequence[str] = ()
    split_rule: str = ""

    def __len__(self) -> int:
        return len(self.captions)

    def __repr__(self) -> str:
        size = f"{len(self):,} pairs, {len(self.class_names):,} classes, {self.image_size} px"
        return f"<{type(self).__name__} {self.name or 'without a name'}: {size}>"

    @abstractmethod
    def images(self, indices: Indices) -> Tensor:
        """Return (N, 3, H, W) float32 images in [0, 1] for `indices` (`to_rows`), freshly allocated."""

    def describe_skipped(self, limit: int = 5) -> str:
        """Return the first `limit` lines of `skipped_items`, and how many more there are; "" without any."""
        lines, more = list(self.skipped_items[:limit]), len(self.skipped_items) - limit
        return f"left out or changed: {'; '.join([*lines, f'{more:,} more'] if more > 0 else lines)}" if lines else ""

    def prefetch(self, indices: Indices) -> None:  # noqa: B027
        """Announce the next call of `images`; data in files start to decode in the background."""

    def prepare(self, indices: Indices) -> None:  # noqa: B027
        """Announce which images will be read in all; data that keep results on disk, such as renderings, make them."""

    def with_transform(self, transform: ImageTransform) -> CaptionData:
        """Return the same pairs with images as a model sees them; triggers then act on these."""
        return self if self.image_size == transform.size else Resized(self, transform)

    def class_index(self, class_name: str) -> int:
        """Return the index of a class; raises `CleanerError` with the valid names if it is unknown."""
        if not self.class_names:
            raise CleanerError(f"{self.name or 'the data'} name no classes: add classes=FILE or classes=a,b,c.")
        name = _spell_class(class_name, self.class_names)
        if name not in self.class_names:
            valid = ", ".join(self.class_names[:40]) + (" ..." if len(self.class_names) > 40 else "")
            hint = suggest(class_name, self.class_names)
            place = self.name or "the data"
            raise CleanerError(f"the class {class_name!r} is not in {place}{hint}. Choose one of: {valid}.")
        return self.class_names.index(name)

    def contains(self, class_name: str) -> Tensor:
        """Return (N,) bool: pairs that show or name the class. Data with known content override this."""
        return self.mentions(class_name) | (self.labels == self.class_index(class_name))

    def mentions(self, class_name: str) -> Tensor:
        """Return (N,) bool: pairs whose caption names the class, in singular or plural."""
        find = find_mentions(class_name, self.class_names)
        return torch.tensor([find(caption) is not None for caption in self.captions], dtype=torch.bool)

    def hash_images(self, indices: Indices) -> list[str]:
        """Return the hash (16 hex digits) of each image before any trigger: of its file, else of its pixels."""
        return hash_pixels(self.images(indices))

    def labeled_rows(self, n: int | None = None) -> Tensor:
        """Return the first `n` rows, or all, that have a single class."""
        return (self.labels >= 0).nonzero().flatten()[:n]

    def subset(self, indices: Indices) -> CaptionData:
        """Return a view of the pairs at `indices`; images are still read on demand."""
        return Subset(self, indices)

    def load_split(self, split: str) -> CaptionData | None:
        """Return the "validation" or "test" split of the same data, or None if there is none."""
        return None

    def count_training_pairs(self) -> int | None:
        """Return how many pairs its source has for training, all splits held out; None: as many as asked for."""
        return None

    def hash_class_names(self) -> str:
        """Return the SHA-256 (hex) of the class names, which make the zero-shot classifier."""
        return hashlib.sha256("\n".join(self.class_names).encode()).hexdigest()

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of captions, labels and 64 evenly spaced images; every manifest records it."""
        digest = hashlib.sha256("\n".join(self.captions).encode())
        digest.update(self.labels.numpy().tobytes())
        if len(self):
            spread = torch.linspace(0, len(self) - 1, min(64, len(self))).long()
            digest.update(_to_8_bits(self.images(spread)).numpy().tobytes())
        return digest.hexdigest()


def to_rows(indices: Indices, count: int) -> Tensor:
    """Return row numbers (N,) int64 from row numbers or from a bool mask of `count` pairs, as `contains` returns."""
    rows = torch.as_tensor(indices).reshape(-1)
    if rows.is_floating_point() and len(rows):
        raise CleanerError("row numbers must be whole, or a mask of True and False: convert them with .astype.")
    if rows.dtype != torch.bool:
        return rows.long()
    if len(rows) != count:
        raise CleanerError(f"the mask has {len(rows):,} values for {count:,} pairs: give one value per pair.")
    return rows.nonzero().flatten()


def find_mentions(class_name: str, class_names: Sequence[str]) -> Callable[[str], int | None]:
    """Return caption -> end of its first mention of a class, or None; "hot dog" may be a class of its own."""
    class_name = _spell_class(class_name, class_names)
    stems = set(list_stems(class_name))
    longer = [name for name in class_names if class_name.lower() in name.lower()]
    pattern = match_stems(stems.union(*map(list_stems, longer)))

    def find(caption: str) -> int | None:
        return next((match.end() for match in pattern.finditer(caption) if find_stem(match[1], stems)), None)

    return find


def _spell_class(class_name: str, class_names: Sequence[str]) -> str:
    """Return the class as the data write it, if they have it: a Mac decomposes the letters of names (NFD)."""
    composed = unicodedata.normalize("NFC", class_name)
    return next((name for name in class_names if unicodedata.normalize("NFC", name) == composed), class_name)


def _to_8_bits(images: Tensor) -> Tensor:
    return (images * 255).round().to(torch.uint8)


def hash_pixels(images: Tensor) -> list[str]:
    """Return the hash of each image (N, 3, H, W) in [0, 1], as `CaptionData.hash_images` records it without files."""
    # Rounded in one call: with one per image, torch waits for its threads each time (7 ms while a training runs).
    return [hash_content(image.numpy().tobytes()) for image in _to_8_bits(images)]


def hash_content(content: bytes) -> str:
    """Return the first 16 hex digits of the SHA-256, as `CaptionData.hash_images` records it."""
    return hashlib.sha256(content).hexdigest()[:16]


class Subset(CaptionData):
    """A selection of pairs, in the given order."""

    def __init__(self, base: CaptionData, indices: Indices) -> None:
        self.base = base
        self.indices = to_rows(indices, len(base))
        self.captions = [base.captions[i] for i in self.indices.tolist()]
        self.class_names = base.class_names
        self.labels = base.labels[self.indices]
        self.image_size = base.image_size
        self.templates = base.templates
        self.name, self.origin, self.split_rule = base.name, base.origin, base.split_rule

    def images(self, indices: Indices) -> Tensor:
        return self.base.images(self.indices[to_rows(indices, len(self))])

    def prefetch(self, indices: Indices) -> None:
        self.base.prefetch(self.indices[to_rows(indices, len(self))])

    def prepare(self, indices: Indices) -> None:
        self.base.prepare(self.indices[to_rows(indices, len(self))])

    def with_transform(self, transform: ImageTransform) -> CaptionData:
        return Subset(self.base.with_transform(transform), self.indices)

    def hash_images(self, indices: Indices) -> list[str]:
        return self.base.hash_images(self.indices[to_rows(indices, len(self))])

    def contains(self, class_name: str) -> Tensor:
        return self.base.contains(class_name)[self.indices]

    def load_split(self, split: str) -> CaptionData | None:
        return self.base.load_split(split)


class Resized(Subset):
    """All pairs, with images resized to another square size."""

    def __init__(self, base: CaptionData, transform: ImageTransform) -> None:
        super().__init__(base, range(len(base)))
        self.image_size, self.transfer_variants = transform.size, base.transfer_variants

    def images(self, indices: Indices) -> Tensor:
        return resize_square(self.base.images(indices), self.image_size)

    def with_transform(self, transform: ImageTransform) -> CaptionData:
        return self.base.with_transform(transform)

    def load_split(self, split: str) -> CaptionData | None:
        data = self.base.load_split(split)
        return data and data.with_transform(ImageTransform(self.image_size))


class TensorData(CaptionData):
    """Pairs held in memory: images (N, 3, side, side), float in [0, 1]; labels as `CaptionData.labels`."""

    def __init__(
        self,
        images: Tensor,
        captions: list[str],
        class_names: list[str],
        labels: Tensor | Sequence[int],
        name: str = "memory",
    ) -> None:
        _validate_images(images)
        self._images = images.float().cpu()
        self.captions = _list_texts("captions", captions)
        self.class_names = _list_texts("class_names", class_names)
        if len({name.casefold() for name in self.class_names}) < len(self.class_names):
            raise CleanerError("class_names must differ by more than their case: models read lower case.")
        self.labels = _list_labels(labels)
        if not len(images) == len(self.captions) == len(self.labels):
            raise CleanerError("images, captions and labels must have the same length.")
        if len(self) and not (self.labels.min() >= -1 and self.labels.max() < len(self.class_names)):
            raise CleanerError(
                f"labels must count the {len(self.class_names)} class names from 0, with -1 for no class, not be "
                f"{self.labels.min()} to {self.labels.max()}."
            )
        self.image_size = int(images.shape[-1])
        self.name = name

    def images(self, indices: Indices) -> Tensor:
        return self._images[to_rows(indices, len(self))]


def _list_texts(name: str, texts: Sequence[str]) -> list[str]:
    """Return a list of texts. Raises `CleanerError` for a single text, and for None or NaN, as tables have them."""
    listed = list(texts)
    if isinstance(texts, str) or not all(isinstance(text, str) for text in listed):
        raise CleanerError(f"{name} must be a list of texts; leave out pairs without one.")
    return listed


def _list_labels(labels: Tensor | Sequence[int]) -> Tensor:
    """Return labels (N,) int64. Raises `CleanerError` unless there is one whole number per pair."""
    try:
        numbers = torch.as_tensor(labels if hasattr(labels, "__len__") else list(labels))
    except (TypeError, ValueError):
        numbers = None
    if numbers is None or numbers.ndim != 1 or (len(numbers) and numbers.is_floating_point()):
        raise CleanerError("labels must be one whole number per pair, the index of its class name, or -1.")
    return numbers.long().cpu()


def _validate_images(images: Tensor) -> None:
    """Raise `CleanerError` unless `images` is (N, 3, side, side), float in [0, 1]."""
    if not isinstance(images, Tensor):
        raise CleanerError(
            "images must be one tensor (N, 3, side, side) in [0, 1]: make it from PIL images with "
            "torch.stack([clip.framing(image) for image in images]) / 255."
        )
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise CleanerError(
            f"images must have the shape (N, 3, side, side), not {tuple(images.shape)}: put the channels first and "
            "crop or resize to squares."
        )
    if not images.is_floating_point():
        raise CleanerError(f"images are float in [0, 1], not {images.dtype}: divide 8-bit images by 255.")
    if len(images) and not (images.min() >= 0 and images.max() <= 1):  # NaN is neither
        raise CleanerError(
            f"images must be in [0, 1], not {images.min():g} to {images.max():g}: divide 8-bit images by 255, and do "
            "not normalize."
        )


def validate_choice(option: str, value: str, choices: Iterable[str]) -> None:
    """Raise `CleanerError` with the valid values if `value` is not one of them."""
    valid = list(choices)
    if value not in valid:
        raise CleanerError(f"{option} {value!r} is not known. Choose one of: {', '.join(valid)}.")


def resolve_source(name: str) -> tuple[Any, dict[str, str]]:
    """Return the source of a registered name, "source:path" or a path that it recognizes, and its options."""
    name = expand_home(name)
    validate_built_in(name, list_builtin_data)
    kind, _, path = name.partition(":")
    if path and kind in DATASETS:
        if not {"path", ANY_OPTION} & accepted_options(DATASETS[kind]).keys():
            raise CleanerError(f"the data set {kind} takes no path: write {kind}, or give the path alone.")
        if not getattr(DATASETS[kind], "is_remote", False):
            validate_allowed(path)
        return DATASETS[kind], {"path": path}
    if name in DATASETS:
        return DATASETS[name], {}
    if os.path.exists(name) or any(mark in name for mark in ".:/\\"):
        validate_allowed(name)
    if os.path.exists(name):  # not Path.exists: it raises for an overlong name
        for source in (DATASETS[kind] for kind in DATASETS):
            if hasattr(source, "recognizes") and source.recognizes(Path(name)):
                return source, {"path": name}
        if name.lower().endswith(".json"):
            raise CleanerError(
                f"{name} has no known format: for COCO's captions, write coco:/folder/of/images annotations={name}."
            )
        raise CleanerError(
            f"{name} has no known format: give a table (.csv, .tsv, .parquet), an image folder, a .tar or a .zip."
        )
    raise CleanerError(
        f"there is no data set or file {name!r}{suggest(name, DATASETS)}: check the path, or choose one of: "
        f"{', '.join(list_builtin_data())}."
    )


def list_builtin_data() -> list[str]:
    """Return the names of the data that need no path."""
    return [name for name in DATASETS if not {"path", ANY_OPTION} & accepted_options(DATASETS[name]).keys()]


def resolve_data_paths(name: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return name and options with absolute paths, valid in any working folder."""
    name = expand_home(name)
    source, name_options = resolve_source(name)
    is_path = "path" in name_options and not getattr(source, "is_remote", False)
    if is_path and "://" not in name_options["path"]:
        kind = "" if name_options["path"] == name else f"{name.partition(':')[0]}:"
        name = f"{kind}{Path(name_options['path']).resolve()}"
    paths = {key: resolve_path(str(options[key])) for key in getattr(source, "path_options", ()) if key in options}
    return name, {**options, **paths}


def load_data(name: str | Path, **options: Any) -> CaptionData:
    """Return the data for `name` (see `resolve_source`); `options` go to the source.

    `load_data("scenes", split="train", size=6000, seed=0)`, `load_data("pairs.csv", split="clean")`. `on_step` receives
    the progress of sources that report it; a size of None leaves the choice to the source, which takes the whole split.
    Strings are converted where the source expects numbers. Raises `CleanerError` for an unknown name or option and for
    a string that is not a number.
    """
    name = os.fspath(name)
    source, name_options = resolve_source(name)
    accepted = accepted_options(source)
    options = {key: value for key, value in options.items() if key != "size" or value is not None}
    given = {key: value for key, value in options.items() if key != "on_step" or {key, ANY_OPTION} & accepted.keys()}
    unknown = [key for key in given if key in name_options or not {key, ANY_OPTION} & accepted.keys()]
    if unknown:
        valid = ", ".join(key for key in accepted if key not in ("path", "split", "size", "on_step", ANY_OPTION))
        raise CleanerError(
            f"the data set {name!r} does not take these options: {', '.join(unknown)}. Its options: {valid}."
        )
    for key in getattr(source, "path_options", ()):
        value = str(given.get(key) or "")
        if value and (key != "classes" or os.path.exists(value)):  # class names may be a list instead of a file
            validate_allowed(value)
    converted = {key: convert_option(key, value, accepted.get(key, ())) for key, value in given.items()}
    data: CaptionData = source(**name_options, **converted)
    own = ("split", "size", "on_step", *getattr(source, "split_options", ()))
    data.origin = _describe_origin(name, {key: value for key, value in given.items() if key not in own})
    return data


def _describe_origin(name: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return `CaptionData.origin`; None if an option cannot be written as text, as in `key=value`."""
    stated: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, (list, tuple)) and not any("," in str(item) for item in value):
            stated[key] = ",".join(map(str, value))
        elif isinstance(value, (str, int, float, Path)):
            stated[key] = str(value) if isinstance(value, Path) else value
        elif value is not None:
            return None
    return resolve_data_paths(name, stated)
