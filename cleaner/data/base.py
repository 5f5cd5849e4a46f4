"""CaptionData: pictures, captions and classes behind one small interface."""

from __future__ import annotations

import hashlib
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

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
    """

    captions: list[str]
    class_names: list[str]
    labels: Tensor
    image_size: int
    templates: tuple[str, ...] = ("a {}", "a photo of a {}", "a picture of a {}", "an image of a {}")
    name: str = ""
    transfer: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.captions)

    @abstractmethod
    def images(self, indices: Indices) -> Tensor:
        """Return (N, 3, H, W) float32 pictures in [0, 1] for `indices`, freshly allocated."""

    def class_index(self, class_name: str) -> int:
        """Return the index of a class; raises `CleanerError` with the valid names if it is not there."""
        if class_name not in self.class_names:
            shown = ", ".join(self.class_names[:40]) + (" ..." if len(self.class_names) > 40 else "")
            raise CleanerError(f"the class {class_name!r} is not in {self.name or 'the data'}. Choose one of: {shown}.")
        return self.class_names.index(class_name)

    def contains(self, class_name: str) -> Tensor:
        """Return (N,) bool: pairs that show or name the class. Data with facts about their pictures override this."""
        return self.names(class_name) | (self.labels == self.class_index(class_name))

    def names(self, class_name: str) -> Tensor:
        """Return (N,) bool: pairs whose caption names the class."""
        pattern = re.compile(rf"\b{re.escape(class_name)}(?:e?s)?\b", re.IGNORECASE)
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
        self.name = base.name

    def images(self, indices: Indices) -> Tensor:
        return self.base.images(self.indices[torch.as_tensor(indices, dtype=torch.long)])

    def contains(self, class_name: str) -> Tensor:
        return self.base.contains(class_name)[self.indices]


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


def load_data(name: str, **options: Any) -> CaptionData:
    """Return the data set registered as `name`; `options` go to its constructor.

    `load_data("scenes", split="train", size=6000, seed=0)`. `on_step` goes only to data that take time to make. Raises
    `CleanerError` for an unknown name or option.
    """
    source = DATASETS[name]
    if "on_step" not in inspect.signature(source).parameters:
        options.pop("on_step", None)
    try:
        data: CaptionData = source(**options)
    except TypeError as error:
        raise CleanerError(f"the data set {name!r} does not take these options: {error}.") from error
    return data
