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
from cleaner.models.framing import Framing
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
    transfer: tuple[str, ...] = ()
    understood: str = ""
    broken: Sequence[str] = ()
    heldout_by: str = ""

    def __len__(self) -> int:
        return len(self.captions)

    @abstractmethod
    def images(self, indices: Indices) -> Tensor:
        """Return (N, 3, H, W) float32 pictures in [0, 1] for `indices`, freshly allocated."""

    def prefetch(self, indices: Indices) -> None:  # noqa: B027
        """Say which pictures `images` will be asked for next; data that decode files begin with them."""

    def framed(self, framing: Framing) -> CaptionData:
        """Return the same pairs with pictures as a model sees them, which triggers then act on."""
        return self if self.image_size == framing.size else Resized(self, framing)

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
        return self.names(class_name) | (self.labels == self.class_index(class_name))

    def names(self, class_name: str) -> Tensor:
        """Return (N,) bool: pairs whose caption names the class."""
        # Not \b, which wants a letter beside it: "C++", "crane (n02012849)".
        pattern = re.compile(rf"(?<!\w){re.escape(class_name)}(?:e?s)?(?!\w)", re.IGNORECASE)
        return torch.tensor([bool(pattern.search(caption)) for caption in self.captions], dtype=torch.bool)

    def subset(self, indices: Indices) -> CaptionData:
        """Return the pairs at `indices` as data of their own (a view: pictures are read on demand)."""
        return Subset(self, indices)

    def heldout(self, split: str) -> CaptionData | None:
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


def resized(images: Tensor, side: int) -> Tensor:
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
        self.name, self.heldout_by = base.name, base.heldout_by

    def images(self, indices: Indices) -> Tensor:
        return self.base.images(self.indices[torch.as_tensor(indices, dtype=torch.long)])

    def prefetch(self, indices: Indices) -> None:
        self.base.prefetch(self.indices[torch.as_tensor(indices, dtype=torch.long)])

    def framed(self, framing: Framing) -> CaptionData:
        return Subset(self.base.framed(framing), self.indices)

    def contains(self, class_name: str) -> Tensor:
        return self.base.contains(class_name)[self.indices]


class Resized(Subset):
    """All pairs of other data with square pictures of another size."""

    def __init__(self, base: CaptionData, framing: Framing) -> None:
        super().__init__(base, range(len(base)))
        self.image_size, self.transfer = framing.size, base.transfer

    def images(self, indices: Indices) -> Tensor:
        return resized(self.base.images(indices), self.image_size)

    def framed(self, framing: Framing) -> CaptionData:
        return self.base.framed(framing)

    def heldout(self, split: str) -> CaptionData | None:
        found = self.base.heldout(split)
        return found and found.framed(Framing(self.image_size))


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


def data_source(name: str) -> tuple[Any, dict[str, str]]:
    """Return the source that `name` means, and the options that stand in it.

    A registered name ("scenes"), "source:path" ("csv:/folder/pairs.csv"), or a path, which the source that recognises
    it takes. Raises `CleanerError` if there is none.
    """
    kind, _, path = name.partition(":")
    if path and kind in DATASETS:
        return DATASETS[kind], {"path": path}
    if name not in DATASETS and os.path.exists(name):  # unlike pathlib's, it takes a name of any length
        for source in (DATASETS[kind] for kind in DATASETS):
            if hasattr(source, "recognises") and source.recognises(Path(name)):
                return source, {"path": name}
        raise CleanerError(f"{name} is no table (.csv, .tsv), folder of pictures, .tar or .zip: give one of these.")
    if name not in DATASETS and any(mark in name for mark in ".:/\\"):
        raise CleanerError(f"there are no data {name!r}: check the path, or choose one of: {', '.join(built_in())}.")
    return DATASETS[name], {}


def built_in() -> list[str]:
    """Return the names of the data that need no path."""
    return [name for name in DATASETS if not {"path", ANY} & _taken(DATASETS[name]).keys()]


def located(name: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return name and options of data with files named by absolute paths: they then mean the same in any folder."""
    source, known = data_source(name)
    if "path" in known and "://" not in known["path"]:
        kind = "" if known["path"] == name else f"{name.partition(':')[0]}:"
        name = f"{kind}{Path(known['path']).resolve()}"
    paths = {key: resolve_path(str(options[key])) for key in getattr(source, "paths", ()) if key in options}
    return name, {**options, **paths}


def load_data(name: str, **options: Any) -> CaptionData:
    """Return the data that `name` means (see `data_source`); `options` go to the source.

    `load_data("scenes", split="train", size=6000, seed=0)`, `load_data("pairs.csv", split="clean")`. `on_step` is told
    of long work where there is any. Words of a command line become numbers where the source wants such. Raises
    `CleanerError` for an unknown name or option, and for a word that is no number.
    """
    source, known = data_source(name)
    taken = _taken(source)
    told = {key: value for key, value in options.items() if key != "on_step" or {key, ANY} & taken.keys()}
    unknown = [key for key in told if key in known or not {key, ANY} & taken.keys()]
    if unknown:
        shown = ", ".join(key for key in taken if key not in ("path", "split", "size", "on_step", ANY))
        raise CleanerError(
            f"the data set {name!r} does not take these options: {', '.join(unknown)}. Its options: {shown}."
        )
    data: CaptionData = source(**known, **{key: _typed(key, value, taken.get(key, ())) for key, value in told.items()})
    return data


ANY = "**"
"""Stands for options whose names a source does not say."""


def _taken(source: Any) -> dict[str, Sequence[str]]:
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
    return {**found, ANY: ()}


def _truth(word: str) -> bool:
    return {"true": True, "false": False}[word.lower()]


_NUMBERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (_truth, "true or false"),
}


def _typed(key: str, value: Any, kinds: Sequence[str]) -> Any:
    """Return an option's value as its source wants it: a column may be called 3, a seed must be a number."""
    if "str" in kinds:
        return str(value) if type(value) in (int, float) else value
    kind = next((kind for kind in kinds if kind in _NUMBERS), None)
    if kind is None or not isinstance(value, str):
        return value
    read, wanted = _NUMBERS[kind]
    try:
        return read(value)
    except (ValueError, KeyError) as error:
        raise CleanerError(f"{key} takes {wanted}, not {value[:40]!r}.") from error
