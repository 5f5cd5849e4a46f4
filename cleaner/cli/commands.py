"""All commands of the command line. Parsing their options does not load torch, which takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from itertools import takewhile
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from cleaner.cli.app import App
from cleaner.cli.audit import Audit
from cleaner.cli.demo import Demo
from cleaner.cli.detect import Detect
from cleaner.cli.exercises import Check, Class, Exercise
from cleaner.cli.invert import Invert
from cleaner.cli.listing import InspectData, List, Runs
from cleaner.cli.models import Evaluate, Export
from cleaner.cli.preset_options import Presets, find_flag_value, resolve_preset_defaults
from cleaner.cli.report import ExportFilm, ExportTensorboard, Playground, Report
from cleaner.cli.scan import Scan
from cleaner.cli.sweep import Sweep
from cleaner.cli.training import Defend, Poison, Pretrain, Rebound
from cleaner.cli.zoo import Challenge, Zoo
from cleaner.files import read_code_version
from cleaner.loading import loading_libraries
from cleaner.registry import suggest
from cleaner.runs.folders import resolve_run
from cleaner.types import CleanerError

RUN_ARGUMENTS = ("suspect", "defended", "model", "reference", "runs", "cancel", "pause", "resume", "delete")
"""Arguments that take a run, or several."""

Command = (
    Annotated[App, tyro.conf.subcommand("app")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Pretrain, tyro.conf.subcommand("pretrain")]
    | Annotated[Poison, tyro.conf.subcommand("poison")]
    | Annotated[Defend, tyro.conf.subcommand("defend")]
    | Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Rebound, tyro.conf.subcommand("rebound")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Scan, tyro.conf.subcommand("scan")]
    | Annotated[Invert, tyro.conf.subcommand("invert")]
    | Annotated[Detect, tyro.conf.subcommand("detect")]
    | Annotated[InspectData, tyro.conf.subcommand("inspect")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[ExportTensorboard, tyro.conf.subcommand("export-tensorboard")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[ExportFilm, tyro.conf.subcommand("film")]
    | Annotated[Playground, tyro.conf.subcommand("playground")]
    | Annotated[Class, tyro.conf.subcommand("class")]
    | Annotated[Exercise, tyro.conf.subcommand("exercise")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Audit, tyro.conf.subcommand("audit")]
    | Annotated[Zoo, tyro.conf.subcommand("zoo")]
    | Annotated[Challenge, tyro.conf.subcommand("challenge")]
    | Annotated[Runs, tyro.conf.subcommand("runs")]
    | Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Presets, tyro.conf.subcommand("presets")]
)


def run_command(arguments: list[str], prog: str, description: str | None) -> None:
    """Parse the arguments, with the defaults of a preset that they name, and run the command."""
    if arguments == ["--version"]:
        print(f"ta-cleaner-lab {read_code_version()}")
        return
    command = _resolve_run_names(parse_command(arguments, prog, description))
    if not isinstance(command, (App, ExportFilm, Runs)):
        _load_torch()
        from cleaner.models.devices import configure_torch

        configure_torch()
        suspect, metavar = _find_positional(command)
        if metavar == "RUN|MODEL":
            from cleaner.cli.inputs import validate_run_or_model  # imports the whole library

            validate_run_or_model(suspect)
    try:
        command.run()
    except RuntimeError as error:
        from cleaner.training.memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        raise CleanerError("there was not enough memory: choose another --device, or a smaller model.") from error


@cache
def _load_torch() -> None:
    with loading_libraries():
        import torch  # noqa: F401


def parse_command(arguments: Sequence[str], prog: str, description: str | None = None) -> Any:
    """Return the command that the arguments describe; tyro prints its own errors and exits with 2."""
    commands = {mark.name: kind for kind, mark in map(get_args, get_args(Command))}
    name = arguments[0] if arguments else ""
    if name not in (*commands, "-h", "--help") and not name.startswith("--tyro-"):
        fault = f"there is no command {name!r}{suggest(name, commands)}" if name else "the command is missing"
        raise CleanerError(f"{fault}. Choose one of: {', '.join(commands)}.")
    remedy = f"List the options: {prog} {name} --help"
    flags = _list_flags(commands[name]) if name in commands else []
    for word in takewhile(lambda word: word != "--", arguments[1:]):
        flag = word.partition("=")[0]
        if flag.startswith("--") and flags and flag.replace("_", "-") not in flags:
            raise CleanerError(f"{name} has no option {flag!r}{suggest(flag, flags)}. {remedy}")
    preset = resolve_preset_defaults(arguments)
    defaults: dict[str, Any] = {} if preset is None else {"default": preset}
    command, unknown = tyro.cli(
        Command,
        prog=prog,
        description=description,
        args=arguments,
        return_unknown_args=True,
        registry=_make_registry(),
        **defaults,
    )
    if unknown:
        raise CleanerError(f"{name} takes no argument {unknown[0]!r}. {remedy}")
    if getattr(command, "test_pairs", 0) < 0:
        raise CleanerError(f"--test-pairs must be at least 0, not {command.test_pairs}.")
    word, metavar = _find_positional(command)
    given = {argument.replace("_", "-") for argument in arguments}
    for option in (each for each in fields(command) if getattr(command, each.name) == ()):
        flag = f"--{option.name.replace('_', '-')}"
        # Tyro gives the only value to the argument without a flag.
        if metavar and find_flag_value(arguments, flag) == word:
            raise CleanerError(f"{name} needs {metavar}: put it before {flag} {word}. {remedy}")
        if option.default == () and flag in given:  # such as with an empty variable of the shell
            raise CleanerError(f"{name} {flag} needs a value: give one, or drop {flag}. {remedy}")
    return command


def _make_registry() -> ConstructorRegistry:
    """Return tyro's rules with one more: an option that may be None is shown as its other type, not as {None}|INT."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def show_without_none(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        kinds = [kind for kind in get_args(info.type) if kind is not NoneType]
        if NoneType not in get_args(info.type) or len(kinds) > 1:
            return None
        spec = registry.get_primitive_spec(PrimitiveTypeInfo.make(kinds[0], info.markers))
        assert isinstance(spec, PrimitiveConstructorSpec)
        return replace(
            spec,
            is_instance=lambda value: value is None or spec.is_instance(value),
            str_from_instance=lambda value: ["None"] if value is None else spec.str_from_instance(value),
        )

    return registry


def _list_flags(kind: type) -> list[str]:
    """Return the flags of a command, those of its groups of options included."""
    flags = ["--help"]
    for name, hint in get_type_hints(kind, include_extras=True).items():
        value, *marks = get_args(hint)
        flag = name.replace("_", "-")
        if isinstance(value, type) and is_dataclass(value):
            flags += _list_flags(value)
        elif tyro.conf.Positional not in marks:
            flags += [f"--{flag}", f"--no-{flag}"] if value is bool else [f"--{flag}"]
    return flags


def _find_positional(command: Any) -> tuple[str, str]:
    """Return value and metavar of the argument that a command takes without a flag; empty if it takes none or many."""
    for name, hint in get_type_hints(type(command), include_extras=True).items():
        kind, *marks = get_args(hint)
        if kind is str and tyro.conf.Positional in marks:
            return getattr(command, name), marks[-1].metavar
    return "", ""


def _resolve_run_names(command: Any) -> Any:
    """Return a command whose runs are folders: `runs` lists the stored ones by name."""
    found: dict[str, Any] = {}
    for argument in (each.name for each in fields(command) if each.name in RUN_ARGUMENTS):
        value = getattr(command, argument)
        if isinstance(value, str):
            found[argument] = resolve_run(value)
        elif isinstance(value, tuple):  # for `sweep`, cancel, pause and resume are switches
            found[argument] = tuple(map(resolve_run, value))
    return replace(command, **found)
