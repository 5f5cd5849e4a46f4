"""Settings as dataclasses: a parameter knows its range and meaning, so that pages and command line draw themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from typing import Any, get_type_hints

from cleaner.types import CleanerError


def param(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    step: float | None = None,
    choices: Sequence[Any] | None = None,
    is_path: bool = False,
    help: str = "",
) -> Any:
    """Return a dataclass field that carries its range (`low`, `high` included), choices and help text.

    `is_path`: the value is the path of a file, as text.
    """
    options = tuple(choices) if choices else None
    metadata = {"low": low, "high": high, "step": step, "choices": options, "is_path": is_path, "help": help}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
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
    help: str


def parameters(cls: type) -> list[Parameter]:
    """Return the parameters of a settings dataclass (fields made by `param`), in order."""
    hints = get_type_hints(cls)
    return [_parameter(f, hints[f.name]) for f in fields(cls) if "help" in f.metadata]


def _parameter(f: Field[Any], kind: type) -> Parameter:
    return Parameter(f.name, kind, None if f.default is MISSING else f.default, **f.metadata)


def file_parameters(cls: type) -> list[str]:
    """Return the names of the parameters that are paths of files."""
    return [p.name for p in parameters(cls) if p.is_path]


def changed_parameters(settings: Any) -> dict[str, Any]:
    """Return the parameters of `settings` that are not at their defaults."""
    values = {p: getattr(settings, p.name) for p in parameters(type(settings))}
    return {p.name: value for p, value in values.items() if value != p.default}


def validate(settings: Any) -> None:
    """Raise `CleanerError` with one sentence if a parameter of `settings` lies outside its range or choices."""
    for p in parameters(type(settings)):
        value = getattr(settings, p.name)
        if p.choices is not None and value not in p.choices:
            raise CleanerError(f"{p.name} must be one of {', '.join(map(str, p.choices))}, not {value!r}.")
        # Said so that NaN, which is neither below nor above anything, is refused too.
        if not ((p.low is None or value >= p.low) and (p.high is None or value <= p.high)):
            raise CleanerError(f"{p.name} must lie between {p.low:g} and {p.high:g}, not {value:g}.")


def to_dict(settings: Any) -> dict[str, Any]:
    """Return all that makes `settings` again, JSON-ready: its parameters, and fields that no form shows."""
    values = asdict(settings)
    return {f.name: values[f.name] for f in fields(settings) if f.init}


DATA_VERSIONS = {"scenes": 1}
"""Version of each generated data set's renderer; weights trained on one version refuse another."""
PRECISIONS = ("fp32", "bf16", "fp16")
AUGMENTATIONS = ("autoaugment", "gentle", "crops", "none")


@dataclass(frozen=True)
class FinetuneConfig:
    """Settings of the one training loop; equal for all methods that are compared."""

    lr: float = param(1e-4, low=1e-8, high=1e-1, help="Peak learning rate; matters most, choose it first.")
    epochs: int = param(5, low=1, high=1000, help="Passes over the pairs.")
    steps: int = param(0, low=0, high=10_000_000, help="End after this many steps; 0: after the epochs.")
    batch_size: int = param(64, low=2, high=4096, help="Pairs per step; each is compared with all others of its batch.")
    warmup_steps: int = param(20, low=0, high=10000, help="Steps in which the learning rate rises from 0 to its peak.")
    weight_decay: float = param(0.1, low=0.0, high=1.0, help="AdamW's decay; none on biases, norms, token embedding.")
    beta1: float = param(0.9, low=0.0, high=0.9999, help="AdamW's decay of the mean gradient.")
    beta2: float = param(0.999, low=0.0, high=0.99999, help="AdamW's decay of the squared gradient.")
    augmentation: str = param(
        "autoaugment", choices=AUGMENTATIONS, help="How views of pictures are made, for the in-modal loss."
    )
    redraw: bool = param(True, help="Draw augmented captions anew every epoch; CleanCLIP's code draws them once.")
    freeze_bn: bool = param(False, help="Keep BatchNorm's statistics as they are.")
    precision: str = param(
        "auto", choices=("auto", *PRECISIONS), help="Number format of the towers, auto: the fast one; losses are fp32."
    )
    device: str = param("auto", choices=("auto", "cpu", "cuda", "mps"), help="Where to train.")
    seed: int = param(0, low=0, high=2**31 - 1, help="Order of pairs, augmentations, subtexts.")
    chunk_size: int = param(
        0, low=0, high=4096, help="Encode so many pairs at a time, for less memory and more time; 0: as memory allows."
    )
    eval_every: int = param(0, low=0, high=100000, help="Steps between looks at the validation split; 0: never.")

    def __post_init__(self) -> None:
        validate(self)
