"""Hashable keys for the caches: a model, a data split, a draw of subtexts, a sample, a trigger placement."""

from collections.abc import Sequence
from dataclasses import dataclass

ModelKey = tuple[str, ...]
"""("model", name, file time), ("clean", run folder) or ("run", run folder); `cache.load_model` reads it."""


@dataclass(frozen=True)
class DataKey:
    """One split of a data set."""

    name: str
    """Name, optionally with path and options: "pairs.csv classes=cat,dog"."""
    split: str
    size: int | None
    """Maximum number of pairs; None: all."""


@dataclass(frozen=True)
class DrawKey:
    """What determines the subtexts that TA-Cleaner draws."""

    seed: int
    epoch: int
    negatives: int


@dataclass(frozen=True)
class Sample:
    """One image: row `index` of a split, or the user's own file."""

    data: DataKey
    index: int
    own_image: tuple[str, bytes] | None = None
    """File name and content."""
    model: ModelKey | None = None
    """Whose image transform applies when no run provides a trigger."""


@dataclass(frozen=True)
class Placement:
    """Where a trigger goes on an image, in px, and how strong it is, in percent."""

    left: int = 0
    top: int = 0
    strength: int = 0


def format_prompt(templates: Sequence[str], class_name: str) -> str:
    """Return the class prompt by the second template ("a photo of a {}") where there are several."""
    return templates[min(1, len(templates) - 1)].format(class_name)
