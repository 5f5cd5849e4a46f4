"""Command-line options as dataclasses, from which tyro makes flags, types and help. Loads no torch."""

from collections.abc import Callable, Sequence
from dataclasses import field, fields, make_dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from cleaner.config import FinetuneConfig, Parameter, format_number, parameters
from cleaner.method import Preset
from cleaner.presets import CLEAN_PAIRS, find_tried_model, is_pretrained, scenes_attack_preset
from cleaner.registry import TRIGGERS, suggest
from cleaner.types import CleanerError

stated_default = partial(tyro.conf.arg, help_behavior_hint="")
"""Describe an argument whose help states its default, or that has none: tyro would show None or nothing."""
MODEL_HELP = (
    "Built-in name, file, local-dir:FOLDER, hf-hub:NAME, ARCHITECTURE:FILE, or ARCHITECTURE/TAG as open_clip lists it."
)
RUN_OR_MODEL_HELP = f"Run folder or model. Models: {MODEL_HELP[0].lower()}{MODEL_HELP[1:]}"
DATA_HELP = "Data (scenes, a table, an image folder, a .tar or a .zip) and options: pairs.csv classes=cat,dog."
OWN_DATA_HELP = f"{DATA_HELP} Default: the data of the run or the built-in model, else scenes."
TRIGGER_HELP = "Trigger and options: badnet patch_size=28. Or the folder of a run or an inversion, to use its trigger."
TRIGGER_DEFAULTS = (
    "On a built-in model, the trigger's options default to those of its preset, such as badclip-scenes; pairs and "
    "epochs do not."
)
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], tyro.conf.arg(help="Where to compute.")]
SUSPECT_HELP = "Folder of a run made by poison, or a model."
TARGET_HELP = "Class that the model should predict for triggered images."
TARGET_DEFAULT = "Default: banana, else the data's first class."
CLEAN_PAIRS_DEFAULT = (
    f"Default: {CLEAN_PAIRS:,}; at most half of your own data; of the attacker's data only pairs that the "
    "attack did not use"
)
PRECHECK_SIZE = 500
"""Test images on which a model from a file is evaluated before training."""


def make_options_class(cls: type, exclude: Sequence[str] = ()) -> type:
    """Return a copy of a settings dataclass with the help, ranges and choices of `param` as types for tyro."""
    annotated = []
    for p in (p for p in parameters(cls) if p.name not in exclude):
        kind: Any = Literal[p.choices] if p.choices else p.kind
        bounds = "" if p.low is None or p.high is None else f" {format_number(p.low)} to {format_number(p.high)}."
        annotated.append((p.name, Annotated[kind, tyro.conf.arg(help=p.help + bounds)], field(default=p.default)))
    return make_dataclass(cls.__name__, annotated, frozen=True)


def validate_minima(command: Any, **minima: int) -> None:
    """Raise `CleanerError` for an option of a command that is below its minimum."""
    for name, minimum in minima.items():
        if (value := getattr(command, name)) < minimum:
            raise CleanerError(f"--{name.replace('_', '-')} must be at least {minimum}, not {value}.")


def instantiate(registry: Any, spec: Sequence[str]) -> Any:
    """Return an instance from `NAME key=value ...`: `["badnet", "patch_size=16"]` -> BadNet(patch_size=16)."""
    if not spec:
        raise CleanerError(f"name a {registry.kind}: {', '.join(registry)}.")
    cls = registry[spec[0]]
    known_parameters = {p.name: p for p in parameters(cls)}
    values = {}
    for word in spec[1:]:
        key, equals, value = word.partition("=")
        if not equals or key not in known_parameters:
            options = ", ".join(known_parameters) or "none"
            raise CleanerError(f"{word!r} is not an option of {spec[0]}: write key=value with one of {options}.")
        values[key] = _parse_value(known_parameters[key], value)
    return cls(**values)


def find_preset(name: str, registry: Any, presets_of: Callable[[str], list[Preset]]) -> Preset:
    """Return a preset by name, from all entries of a registry; raises `CleanerError` if there is none."""
    by_name = {preset.name: preset for method in registry for preset in presets_of(method)}
    if name not in by_name:
        hint = suggest(name, by_name)
        raise CleanerError(f"there is no {registry.kind} preset {name!r}{hint}. List them: python -m cleaner presets")
    return by_name[name]


def apply_preset(
    name: str | None, spec: Sequence[str], registry: Any, presets_of: Callable[[str], list[Preset]]
) -> Sequence[str]:
    """Return `NAME key=value ...` with a preset's parameters; those in `spec` come later and override them."""
    if name is None:
        return spec
    preset = find_preset(name, registry, presets_of)
    if list(spec[:1]) != [preset.method]:
        method = spec[0] if spec else "none"
        raise CleanerError(f"the preset {name} is for {preset.method}, not for {method}: name only one of them.")
    return [preset.method, *preset.arguments, *spec[1:]]


def add_tried_parameters(spec: Sequence[str], model: str) -> Sequence[str]:
    """Return a trigger's spec with the preset's parameters for a built-in model before those of the user."""
    if not spec or spec[0] not in TRIGGERS or is_pretrained(find_tried_model(model)):
        return spec
    return [spec[0], *scenes_attack_preset(spec[0], model).arguments, *spec[1:]]


def _parse_value(p: Parameter, text: str) -> Any:
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
    SweepFinetune = FinetuneConfig
    FinetuneWithoutLr = FinetuneConfig
    AttackFinetune = FinetuneConfig
    ReboundFinetune = FinetuneConfig
    PretrainFinetune = FinetuneConfig
else:
    SweepFinetune = make_options_class(FinetuneConfig, exclude=("lr", "seed"))
    FinetuneWithoutLr = make_options_class(FinetuneConfig, exclude=("lr",))
    # An attack and a rebound test are plain finetuning, which uses no augmentation.
    AttackFinetune = make_options_class(FinetuneConfig, exclude=("lr", "augmentation", "redraw"))
    # A rebound test is limited by steps, which are an option of its command.
    ReboundFinetune = make_options_class(FinetuneConfig, exclude=("lr", "epochs", "steps", "augmentation", "redraw"))
    # Pretraining redraws its views in every epoch, and validates nothing before its end.
    PretrainFinetune = make_options_class(FinetuneConfig, exclude=("redraw", "eval_every"))


def options_from_config(options_class: type[FinetuneConfig], config: FinetuneConfig) -> Any:
    """Return options of a class made by `make_options_class`, with the values of a config."""
    return options_class(**{f.name: getattr(config, f.name) for f in fields(options_class)})


def to_config(options: Any) -> FinetuneConfig:
    """Return the config with the values of options made by `make_options_class`, validated."""
    return FinetuneConfig(**{f.name: getattr(options, f.name) for f in fields(options)})
