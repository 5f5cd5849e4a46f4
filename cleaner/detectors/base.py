"""Detector: how suspicious a training pair, or an image, is. A new detector is one file with one subclass."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from cleaner.method import Method
from cleaner.registry import DETECTORS as DETECTORS  # part of this module's interface
from cleaner.seed import numpy_generator
from cleaner.types import CleanerError

ImageScorer = Callable[[Tensor, Tensor], Tensor]
"""(images (N, 3, H, W) in [0, 1], their unit features (N, D)) -> scores (N,), higher is more suspicious."""


class Towers(Protocol):
    """What an image detector needs of a model: unit features (N, D), on the CPU."""

    def encode_image(self, images: Tensor) -> Tensor: ...

    def encode_texts(self, texts: Sequence[str]) -> Tensor: ...


@dataclass(frozen=True)
class Detector(Method, ABC):
    """A score for each item, higher is more suspicious; the fields made by `param` are its parameters."""

    registry = DETECTORS
    question: ClassVar[str]
    """What it answers: "pairs" (which training pairs are poisoned?) or "image" (does an image carry a trigger?)."""


@dataclass(frozen=True)
class PairDetector(Detector):
    """Score training pairs by their features."""

    question: ClassVar[str] = "pairs"
    uses_reference: ClassVar[bool] = True
    """Whether scores depend on the other rows."""

    @property
    def min_reference(self) -> int:
        """Fewest reference rows that it works with."""
        return 2

    def works_with(self, reference_size: int) -> bool:
        """Return whether so many reference rows are enough."""
        return not self.uses_reference or reference_size >= self.min_reference

    def score(
        self,
        features: Tensor,
        reference: Tensor | None = None,
        *,
        rows: Tensor | None = None,
        captions: Tensor | None = None,
    ) -> Tensor:
        """Return the scores (N,) float32 of image features (N, D).

        reference: features (R, D) that count as normal; None: `features` themselves. A row is never its own neighbor:
        rows (R,) gives the index in `features` of each reference row, -1 for one from elsewhere; None: all from
        elsewhere. captions: features (N, D) of the pairs' captions, for detectors that need them. Raises `CleanerError`
        for too few reference rows, features that are not finite, or missing captions.
        """
        features = _to_features(features)
        reference, captions = (None if values is None else _to_features(values) for values in (reference, captions))
        given = [values for values in (features, reference, captions) if values is not None]
        if len({values.shape[-1] for values in given}) > 1:
            raise CleanerError(f"features differ in their dimensions, {', '.join(str(v.shape[-1]) for v in given)}.")
        if not all(values.isfinite().all() for values in given):
            raise CleanerError("the features of this model are not finite (NaN): choose another checkpoint.")
        if reference is None:
            reference, rows = features, torch.arange(len(features))
        elif rows is None:
            rows = torch.full((len(reference),), -1)
        rows = torch.as_tensor(rows)
        if len(rows) != len(reference):
            raise CleanerError(f"rows has {len(rows):,} values for {len(reference):,} reference rows: give one each.")
        if not self.works_with(len(reference)):
            raise CleanerError(
                f"{DETECTORS.name_of(self)} needs at least {self.min_reference} reference pairs, not {len(reference)}: "
                "lower k or take a larger reference."
            )
        scores = self._score(features, reference, rows, captions)
        return require_scores(scores, len(features), type(self).__name__).float()

    @abstractmethod
    def _score(self, features: Tensor, reference: Tensor, rows: Tensor, captions: Tensor | None) -> Tensor:
        """Return the scores (N,)."""


@dataclass(frozen=True)
class ImageDetector(Detector):
    """Score single images at test time, with the model that is to classify them."""

    question: ClassVar[str] = "image"

    @abstractmethod
    def prepare(self, towers: Towers, class_names: Sequence[str], classifier: Tensor) -> ImageScorer:
        """Return the function that scores images; classifier: (D, C), the model's zero-shot classifier."""


def _to_features(values: Tensor) -> Tensor:
    """Return features (N, D), given as a tensor or array, on the CPU and at least in single precision."""
    values = torch.as_tensor(values).detach().cpu()
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def find_detectors(question: str) -> dict[str, Any]:
    """Return name -> class of the detectors that answer a question, "pairs" or "image"."""
    return {name: DETECTORS[name] for name in DETECTORS if DETECTORS[name].question == question}


def require_scores(scores: Tensor, n: int, name: str) -> Tensor:
    """Return the scores of the detector `name` as they are; raise `CleanerError` unless they are (n,) and finite."""
    if scores.shape != (n,):
        raise CleanerError(f"{name} must return one score per item, ({n},), not {tuple(scores.shape)}.")
    if not scores.isfinite().all():
        raise CleanerError(f"{name} returned scores that are not finite (NaN): choose another detector, or correct it.")
    return scores


def draw_reference(n: int, size: int, seed: int = 0) -> Tensor:
    """Return `size` of the rows 0..n-1, drawn without replacement and sorted; all rows if there are fewer."""
    chosen = numpy_generator("detector reference", seed).choice(n, min(size, n), replace=False)
    return torch.from_numpy(chosen).sort().values
