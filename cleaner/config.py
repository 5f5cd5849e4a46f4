"""Settings as dataclasses. Each parameter carries its label, range and meaning: forms and options build themselves."""

import math
import os
from collections.abc import Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from numbers import Real
from typing import Any, get_type_hints

from cleaner.files import resolve_path
from cleaner.labels import to_words
from cleaner.types import CleanerError

VALIDATION_TIME_SHARE = 0.05
"""Share of a training's time that its validation passes may take."""

REFERENCE_SIDE = 224
"""Lengths are given for an image of 224 px and scale with the image."""


def scale_pixels(pixels: int, side: int) -> int:
    """Return a length given for a 224 px image in px of an image of `side` px, at least 1."""
    return max(1, round(pixels * side / REFERENCE_SIDE))


def param(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    step: float | None = None,
    choices: Sequence[Any] | None = None,
    is_path: bool = False,
    is_length: bool = False,
    scaled_if: str = "",
    label: str = "",
    help: str = "",
) -> Any:
    """Return a dataclass field with its range (`low` and `high` included), choices, label and help text.

    `is_path`: the value is the path of a file, as text. `is_length`: it is a length in px on an image of
    `REFERENCE_SIDE`; if the parameter named `scaled_if` is off, in px of the image itself. An empty `label` becomes the
    field's name in words.
    """
    metadata = {
        "low": low,
        "high": high,
        "step": step,
        "choices": tuple(choices) if choices else None,
        "is_path": is_path,
        "is_length": is_length,
        "scaled_if": scaled_if,
        "label": label,
        "help": help,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a settings class as a form needs it."""

    name: str
    kind: type
    default: Any
    low: float | None
    high: float | None
    step: float | None
    choices: tuple[Any, ...] | None
    is_path: bool
    is_length: bool
    scaled_if: str
    label: str
    help: str


def parameters(cls: type) -> list[Parameter]:
    """Return the parameters of a settings dataclass (fields made by `param`), in order."""
    hints = get_type_hints(cls)
    return [_make_parameter(f, hints[f.name]) for f in fields(cls) if "help" in f.metadata]


def _make_parameter(f: Field[Any], kind: type) -> Parameter:
    default = None if f.default is MISSING else f.default
    metadata = {**f.metadata, "label": f.metadata["label"] or to_words(f.name)}
    return Parameter(name=f.name, kind=kind, default=default, **metadata)


def file_parameters(cls: type) -> list[str]:
    """Return the names of the parameters that are paths of files."""
    return [p.name for p in parameters(cls) if p.is_path]


def changed_parameters(settings: Any) -> dict[str, Any]:
    """Return the parameters of `settings` that differ from their defaults; not paths, which only name a place."""
    values = {p: getattr(settings, p.name) for p in parameters(type(settings)) if not p.is_path}
    return {p.name: value for p, value in values.items() if value != p.default}


KINDS: dict[Any, tuple[Any, str]] = {
    int: (int, "a whole number"),
    float: (int | float, "a number"),
    bool: (bool, "True or False"),
    str: (str, "text"),
}
"""Type of a parameter -> types of its values, and their name in messages."""


def validate(settings: Any) -> None:
    """Raise `CleanerError` for a parameter of another type or out of range; make it JSON-ready, paths absolute."""
    for p in parameters(type(settings)):
        value: Any = getattr(settings, p.name)
        if getattr(value, "ndim", None) == 0:
            value = value.item()
        elif isinstance(value, os.PathLike):
            value = os.fspath(value)
        if p.is_path and value:
            value = resolve_path(value)
        object.__setattr__(settings, p.name, value)  # the dataclass is frozen
        accepted, words = KINDS.get(p.kind, (object, ""))
        if not isinstance(value, accepted) or (isinstance(value, bool) and p.kind in (int, float)):
            raise CleanerError(f"{p.name} must be {words}, not {value!r}.")
        if p.choices is not None and value not in p.choices:
            raise CleanerError(f"{p.name} must be one of {', '.join(map(str, p.choices))}, not {value!r}.")
        # Written as `not (...)` to refuse NaN as well, which is neither below nor above any bound.
        if not ((p.low is None or value >= p.low) and (p.high is None or value <= p.high)):
            low, high, given = map(format_number, (p.low, p.high, value))
            raise CleanerError(f"{p.name} must be between {low} and {high}, not {given}.")


def format_number(number: Any) -> str:
    """Return a number as messages show it, whole ones with all their digits."""
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def to_dict(settings: Any) -> dict[str, Any]:
    """Return all constructor fields of `settings`, JSON-ready, including those that no form shows."""
    values = asdict(settings)
    return {f.name: values[f.name] for f in fields(settings) if f.init}


DATA_VERSIONS = {"scenes": 1}
"""Version of each generated data set's renderer; weights trained on one version refuse another."""
PRECISIONS = ("fp32", "bf16", "fp16")
AUGMENTATIONS = ("autoaugment", "gentle", "crops", "none")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Settings of the training loop, the same for all methods of a comparison."""

    lr: float = param(
        1e-4, low=1e-8, high=1e-1, label="Learning rate", help="Peak learning rate; matters most, choose it first."
    )
    epochs: int = param(5, low=1, high=1000, help="Passes over the pairs.")
    steps: int = param(0, low=0, high=10_000_000, help="Stop after this many steps; 0: after the epochs.")
    batch_size: int = param(64, low=2, high=4096, help="Pairs per step; each is compared with all others of its batch.")
    warmup_steps: int = param(20, low=0, high=10000, help="Steps in which the learning rate rises from 0 to its peak.")
    weight_decay: float = param(0.1, low=0.0, high=1.0, help="AdamW's decay; none on biases, norms, embeddings.")
    beta1: float = param(0.9, low=0.0, high=0.9999, label="Beta 1", help="AdamW's decay of the mean gradient.")
    beta2: float = param(0.999, low=0.0, high=0.99999, label="Beta 2", help="AdamW's decay of the squared gradient.")
    augmentation: str = param(
        "autoaugment",
        choices=AUGMENTATIONS,
        help="Views of the images for the in-modal loss, and in pretraining. autoaugment, as published, recolors them; "
        "gentle does not; crops shifts and mirrors.",
    )
    redraw: bool = param(
        True,
        label="Redraw captions each epoch",
        help="Draw new augmented captions every epoch; CleanCLIP's code draws them once.",
    )
    freeze_bn: bool = param(False, label="Freeze BatchNorm", help="Keep BatchNorm's statistics fixed.")
    precision: str = param(
        "auto",
        choices=("auto", *PRECISIONS),
        help="Number format of the towers; auto: the fastest here. Losses are always fp32.",
    )
    device: str = param("auto", choices=("auto", "cpu", "cuda", "mps"), help="Where to train.")
    seed: int = param(
        0, low=0, high=2**31 - 1, help="Seeds all that is drawn: poisoned pairs, order, augmentations, subtexts."
    )
    chunk_size: int = param(
        0, low=0, high=4096, help="Pairs per chunk: smaller saves memory, costs time; 0: as memory allows."
    )
    eval_every: int = param(
        0,
        low=0,
        high=100000,
        help="Steps between validation passes, more if they would take over 5% of the time; 0: never.",
    )

    def __post_init__(self) -> None:
        validate(self)


def count_steps(pairs: int, config: Any) -> int:
    """Return the steps of a training; an incomplete last batch is dropped unless it is the only one."""
    return int(config.steps or config.epochs * max(1, pairs // config.batch_size))


def is_poison_rate(rate: float, pairs: float = math.inf) -> bool:
    """Return whether a poison rate is a share below 1, or a whole number of pairs, fewer than there are."""
    return isinstance(rate, Real) and (0 < rate < 1 or (1 <= rate < pairs and rate % 1 == 0))


def with_eval_interval(pairs: int, config: FinetuneConfig) -> FinetuneConfig:
    """Return the settings with about ten validation passes."""
    return replace(config, eval_every=max(1, count_steps(pairs, config) // 10))
