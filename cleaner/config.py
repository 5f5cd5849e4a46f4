"""Settings as dataclasses: each parameter knows its range and its meaning, so pages and command line draw themselves."""

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
    help: str = "",
) -> Any:
    """Return a dataclass field that carries its range (`low`, `high` included), choices and help text."""
    metadata = {"low": low, "high": high, "step": step, "choices": tuple(choices) if choices else None, "help": help}
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
    help: str


def parameters(cls: type) -> list[Parameter]:
    """Return the parameters of a settings dataclass (fields made by `param`), in order."""
    hints = get_type_hints(cls)
    return [_parameter(f, hints[f.name]) for f in fields(cls) if "help" in f.metadata]


def _parameter(f: Field[Any], kind: type) -> Parameter:
    return Parameter(f.name, kind, None if f.default is MISSING else f.default, **f.metadata)


def validate(settings: Any) -> None:
    """Raise `CleanerError` with one sentence if a parameter of `settings` lies outside its range or choices."""
    for p in parameters(type(settings)):
        value = getattr(settings, p.name)
        if p.choices is not None and value not in p.choices:
            raise CleanerError(f"{p.name} must be one of {', '.join(map(str, p.choices))}, not {value!r}.")
        if (p.low is not None and value < p.low) or (p.high is not None and value > p.high):
            raise CleanerError(f"{p.name} must lie between {p.low:g} and {p.high:g}, not {value:g}.")


def to_dict(settings: Any) -> dict[str, Any]:
    """Return the parameters of `settings` as plain JSON-ready values."""
    return {p.name: asdict(settings)[p.name] for p in parameters(type(settings))}
