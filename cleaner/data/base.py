"""CaptionData: pictures, captions and classes behind one small interface."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.files import resolve_path
from cleaner.models.framing import ImageTransform
from cleaner.registry import Registry
from cleaner.types import CleanerError

Indices = Sequence[int] | Tensor


class CaptionData(ABC):
    """Image-caption pairs with class labels.

    Attributes:
        captions: N captions.
        class_names: C names, as a prompt would say them ("banana").
        labels: (N,) int64 class index; -1 where no single class is the truth (two objects, unknown): such
            pairs train, but are left out of accuracy and ASR.
        image_size: side of the square pictures in px.
        templates: prompts with one "{}" for the class name, for the zero-shot classifier.
        name: what the data are called in a run's config ("scenes/test").
        transfer: registered data sets with the same classes in another look, for transfer accuracy.
        understood: how files were read, in words.
        broken: pictures and rows that were left out, in words.
        heldout_by: how validation and test pairs are told from those for training, in words.
    """

    captions: list[str]
    class_names: list[str]
    labels: Tensor
    image_size: int
    templates: tuple[str, ...] = ("a {}", "a photo of a {}", "a picture of a {}", "an image of a {}")
    name: str = ""
    transfer_variants: tuple[str, ...] = ()
    format_summary: str = ""
    skipped_items: Sequence[str] = ()
    split_rule: str = ""

    def __len__(self) -> int:
        return len(self.captions)

    @abstractmethod
    def images(self, indices: Indices) -> Tensor:
        """Return (N, 3, H, W) float32 pictures in [0, 1] for `indices`, freshly allocated."""

    def prefetch(self, indices: Indices) -> None:  # noqa: B027
        """Say which pictures `images` will be asked for next; data that decode files begin with them."""

    def with_transform(self, transform: ImageTransform) -> CaptionData:
        """Return the same pairs with pictures as a model sees them, which triggers then act on."""
        return self if self.image_size == transform.size else Resized(self, transform)

    def class_index(self, class_name: str) -> int:
        """Return the index of a class; raises `CleanerError` with the valid names if it is not there."""
        if not self.class_names:
            raise CleanerError(f"{self.name or 'the data'} name no classes: give classes=FILE or classes=a,b,c.")
        if class_name not in self.class_names:
            shown = ", ".join(self.class_names[:40]) + (" ..." if len(self.class_names) > 40 else "")
            raise CleanerError(f"the class {class_name!r} is not in {self.name or 'the data'}. Choose one of: {shown}.")
        return self.class_names.index(class_name)

    def contains(self, class_name: str) -> Tensor:
        """Return (N,) bool: pairs that show or name the class. Data with facts about their pictures override this."""
        return self.mentions(class_name) | (self.labels == self.class_index(class_name))

    def mentions(self, class_name: str) -> Tensor:
        """Return (N,) bool: pairs whose caption names the class."""
        # Not \b, which wants a letter beside it: "C++", "crane (n02012849)".
        pattern = re.compile(rf"(?<!\w){re.escape(class_name)}(?:e?s)?(?!\w)", re.IGNORECASE)
        return torch.tensor([bool(pattern.search(caption)) for caption in self.captions], dtype=torch.bool)

    def subset(self, indices: Indices) -> CaptionData:
        """Return the pairs at `indices` as data of their own (a view: pictures are read on demand)."""
        return Subset(self, indices)

    def load_split(self, split: str) -> CaptionData | None:
        """Return the "validation" or "test" split that belongs to these data, or None where there is none."""
        return None

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of captions, labels and a spread of 64 pictures; stands in every manifest."""
        digest = hashlib.sha256("\n".join(self.captions).encode())
        digest.update(self.labels.numpy().tobytes())
        if len(self):
            spread = torch.linspace(0, len(self) - 1, min(64, len(self))).long()
            digest.update((self.images(spread) * 255).round().to(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def resize_square(images: Tensor, side: int) -> Tensor:
    """Return pictures (N, 3, H, W) in [0, 1] resized to `side` px, a fresh copy only if they had another size."""
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, side, mode="bicubic", antialias=True).clamp(0, 1)


class Subset(CaptionData):
    """Some pairs of other data, in the given order."""

    def __init__(self, base: CaptionData, indices: Indices) -> None:
        self.base = base
        self.indices = torch.as_tensor(indices, dtype=torch.long)
        self.captions = [base.captions[i] for i in self.indices.tolist()]
        self.class_names = base.class_names
        self.labels = base.labels[self.indices]
        self.image_size = base.image_size
        self.templates = base.templates
        self.name, self.split_rule = base.name, base.split_rule

    def images(self, indices: Indices) -> Tensor:
        return self.base.images(self.indices[torch.as_tensor(indices, dtype=torch.long)])

    def prefetch(self, indices: Indices) -> None:
        self.base.prefetch(self.indices[torch.as_tensor(indices, dtype=torch.long)])

    def with_transform(self, transform: ImageTransform) -> CaptionData:
        return Subset(self.base.with_transform(transform), self.indices)

    def contains(self, class_name: str) -> Tensor:
        return self.base.contains(class_name)[self.indices]


class Resized(Subset):
    """All pairs of other data with square pictures of another size."""

    def __init__(self, base: CaptionData, transform: ImageTransform) -> None:
        super().__init__(base, range(len(base)))
        self.image_size, self.transfer_variants = transform.size, base.transfer_variants

    def images(self, indices: Indices) -> Tensor:
        return resize_square(self.base.images(indices), self.image_size)

    def with_transform(self, transform: ImageTransform) -> CaptionData:
        return self.base.with_transform(transform)

    def load_split(self, split: str) -> CaptionData | None:
        found = self.base.load_split(split)
        return found and found.with_transform(ImageTransform(self.image_size))


class TensorData(CaptionData):
    """Pairs held in memory, mostly for tests and for uploaded pictures."""

    def __init__(
        self,
        images: Tensor,
        captions: list[str],
        class_names: list[str],
        labels: Tensor | Sequence[int],
        name: str = "memory",
    ) -> None:
        if not len(images) == len(captions) == len(labels):
            raise CleanerError("pictures, captions and labels must be equally many.")
        self._images = images
        self.captions = list(captions)
        self.class_names = list(class_names)
        self.labels = torch.as_tensor(labels, dtype=torch.long)
        self.image_size = int(images.shape[-1])
        self.name = name

    def images(self, indices: Indices) -> Tensor:
        return self._images[torch.as_tensor(indices, dtype=torch.long)]


DATASETS: Registry[Any] = Registry("data set", "cleaner.data")


def resolve_source(name: str) -> tuple[Any, dict[str, str]]:
    """Return the source that `name` means, and the options that stand in it.

    A registered name ("scenes"), "source:path" ("csv:/folder/pairs.csv"), or a path, which the source that recognizes
    it takes. Raises `CleanerError` if there is none.
    """
    kind, _, path = name.partition(":")
    if path and kind in DATASETS:
        return DATASETS[kind], {"path": path}
    if name not in DATASETS and os.path.exists(name):  # unlike pathlib's, it takes a name of any length
        for source in (DATASETS[kind] for kind in DATASETS):
            if hasattr(source, "recognizes") and source.recognizes(Path(name)):
                return source, {"path": name}
        raise CleanerError(f"{name} is no table (.csv, .tsv), folder of pictures, .tar or .zip: give one of these.")
    if name not in DATASETS and any(mark in name for mark in ".:/\\"):
        raise CleanerError(
            f"there are no data {name!r}: check the path, or choose one of: {', '.join(list_builtin_data())}."
        )
    return DATASETS[name], {}


def list_builtin_data() -> list[str]:
    """Return the names of the data that need no path."""
    return [name for name in DATASETS if not {"path", ANY_OPTION} & _accepted_options(DATASETS[name]).keys()]


def resolve_data_paths(name: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return name and options of data with files named by absolute paths: they then mean the same in any folder."""
    source, known = resolve_source(name)
    if "path" in known and "://" not in known["path"]:
        kind = "" if known["path"] == name else f"{name.partition(':')[0]}:"
        name = f"{kind}{Path(known['path']).resolve()}"
    paths = {key: resolve_path(str(options[key])) for key in getattr(source, "path_options", ()) if key in options}
    return name, {**options, **paths}


def load_data(name: str, **options: Any) -> CaptionData:
    """Return the data that `name` means (see `resolve_source`); `options` go to the source.

    `load_data("scenes", split="train", size=6000, seed=0)`, `load_data("pairs.csv", split="clean")`. `on_step` is told
    of long work where there is any. Words of a command line become numbers where the source wants such. Raises
    `CleanerError` for an unknown name or option, and for a word that is no number.
    """
    source, known = resolve_source(name)
    taken = _accepted_options(source)
    told = {key: value for key, value in options.items() if key != "on_step" or {key, ANY_OPTION} & taken.keys()}
    unknown = [key for key in told if key in known or not {key, ANY_OPTION} & taken.keys()]
    if unknown:
        shown = ", ".join(key for key in taken if key not in ("path", "split", "size", "on_step", ANY_OPTION))
        raise CleanerError(
            f"the data set {name!r} does not take these options: {', '.join(unknown)}. Its options: {shown}."
        )
    data: CaptionData = source(
        **known, **{key: _convert_option(key, value, taken.get(key, ())) for key, value in told.items()}
    )
    return data


ANY_OPTION = "**"
"""Stands for options whose names a source does not say."""


def _accepted_options(source: Any) -> dict[str, Sequence[str]]:
    """Return the options of a source, a class or a function, with the types that stand beside them.

    What a class hands on to its base is included; `ANY` stands among them if the source takes whatever it is told.
    """
    classes = [vars(cls) for cls in source.__mro__] if isinstance(source, type) else [{"__init__": source}]
    found: dict[str, Sequence[str]] = {}
    for function in (members["__init__"] for members in classes if "__init__" in members):
        own = inspect.signature(function).parameters.values()
        for p in own:
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self":
                kind = p.annotation if isinstance(p.annotation, str) else getattr(p.annotation, "__name__", "")
                found.setdefault(p.name, kind.split(" | "))
        if not any(p.kind is p.VAR_KEYWORD for p in own):
            return found
    return {**found, ANY_OPTION: ()}


def _parse_bool(word: str) -> bool:
    return {"true": True, "false": False}[word.lower()]


_CONVERTERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (_parse_bool, "true or false"),
}


def _convert_option(key: str, value: Any, kinds: Sequence[str]) -> Any:
    """Return an option's value as its source wants it: a column may be called 3, a seed must be a number."""
    if "str" in kinds:
        return str(value) if type(value) in (int, float) else value
    kind = next((kind for kind in kinds if kind in _CONVERTERS), None)
    if kind is None or not isinstance(value, str):
        return value
    read, wanted = _CONVERTERS[kind]
    try:
        return read(value)
    except (ValueError, KeyError) as error:
        raise CleanerError(f"{key} takes {wanted}, not {value[:40]!r}.") from error
