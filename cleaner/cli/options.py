"""Options of the command line as dataclasses; tyro turns them into flags, types and help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, fields, make_dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from cleaner.config import FinetuneConfig, Parameter, parameters
from cleaner.presets import Preset
from cleaner.types import CleanerError


def with_help(cls: type, without: Sequence[str] = ()) -> type:
    """Return a twin of a settings dataclass that tyro can read: help, ranges and choices of `param` in the types."""
    twins = []
    for p in (p for p in parameters(cls) if p.name not in without):
        kind: Any = Literal[p.choices] if p.choices else p.kind
        bounds = "" if p.low is None or p.high is None else f" {p.low:g} to {p.high:g}."
        twins.append((p.name, Annotated[kind, tyro.conf.arg(help=p.help + bounds)], field(default=p.default)))
    return make_dataclass(cls.__name__, twins, frozen=True)


def named(registry: Any, words: Sequence[str]) -> Any:
    """Return the entry that `NAME key=value ...` asks for: `["badnet", "patch_size=16"]` -> BadNet(patch_size=16).

    Raises `CleanerError` for an unknown name or key, or a value of the wrong type.
    """
    if not words:
        raise CleanerError(f"name a {registry.kind}: {', '.join(registry)}.")
    cls = registry[words[0]]
    known = {p.name: p for p in parameters(cls)}
    values = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            options = ", ".join(known) or "none"
            raise CleanerError(f"{word!r} is not an option of {words[0]}. Write key=value; its options: {options}.")
        values[key] = _typed(known[key], value)
    return cls(**values)


def chosen(name: str, registry: Any, of: Callable[[str], list[Preset]]) -> Preset:
    """Return the preset of that name of the registry's entries, or raise `CleanerError`."""
    found = {preset.name: preset for method in registry for preset in of(method)}
    if name not in found:
        close = get_close_matches(name, found, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise CleanerError(f"there is no {registry.kind} preset {name!r}{hint}. List them: python -m cleaner presets")
    return found[name]


def with_preset(
    name: str | None, words: Sequence[str], registry: Any, of: Callable[[str], list[Preset]]
) -> Sequence[str]:
    """Return `NAME key=value ...` with a preset's parameters before those in `words`, which therefore win."""
    if name is None:
        return words
    preset = chosen(name, registry, of)
    if list(words[:1]) != [preset.method]:
        asked = words[0] if words else "none"
        raise CleanerError(f"the preset {name} is for {preset.method}, not for {asked}: name only one of them.")
    return [preset.method, *preset.arguments, *words[1:]]


def _typed(p: Parameter, text: str) -> Any:
    if p.kind is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
    else:
        try:
            return p.kind(text)
        except ValueError:
            pass
    raise CleanerError(f"{p.name} takes a value of type {p.kind.__name__}, not {text!r}.")


if TYPE_CHECKING:
    Finetune = FinetuneConfig
    SharedFinetune = FinetuneConfig
    UnratedFinetune = FinetuneConfig
    ReboundFinetune = FinetuneConfig
else:
    Finetune = with_help(FinetuneConfig)
    SharedFinetune = with_help(FinetuneConfig, without=("lr", "seed"))
    UnratedFinetune = with_help(FinetuneConfig, without=("lr",))
    # It ends by its steps, and plain finetuning draws no views.
    ReboundFinetune = with_help(FinetuneConfig, without=("epochs", "augmentation", "redraw"))


def options_of(kind: type[FinetuneConfig], config: FinetuneConfig) -> Any:
    """Return a twin made by `with_help(FinetuneConfig)` with the values of a config, as far as it has them."""
    return kind(**{f.name: getattr(config, f.name) for f in fields(kind)})


def to_config(options: Any) -> FinetuneConfig:
    """Return the settings that a twin made by `with_help(FinetuneConfig)` holds, checked."""
    return FinetuneConfig(**{f.name: getattr(options, f.name) for f in fields(options)})
