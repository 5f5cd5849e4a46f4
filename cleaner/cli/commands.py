"""All commands of the command line; importing this module loads torch."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Annotated, Any

import tyro

from cleaner.cli.app import App
from cleaner.cli.demo import Demo
from cleaner.cli.detect import Detect
from cleaner.cli.invert import Invert
from cleaner.cli.listing import InspectData, List, Runs
from cleaner.cli.models import Evaluate, Export
from cleaner.cli.presets import Presets, resolve_preset_defaults
from cleaner.cli.recipe import Recipe
from cleaner.cli.report import ExportTensorboard, Film, Report
from cleaner.cli.scan import Scan
from cleaner.cli.sweep import Sweep
from cleaner.cli.training import Defend, Poison, Pretrain, Rebound
from cleaner.models.devices import configure_torch
from cleaner.runs.folders import resolve_run

RUN_ARGUMENTS = ("suspect", "defended", "model", "reference", "runs", "cancel", "pause", "resume")
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
    | Annotated[Film, tyro.conf.subcommand("film")]
    | Annotated[Runs, tyro.conf.subcommand("runs")]
    | Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Presets, tyro.conf.subcommand("presets")]
    | Annotated[Recipe, tyro.conf.subcommand("recipe")]
)


def run_command(arguments: list[str], prog: str, description: str | None) -> None:
    """Parse the arguments, with the defaults of a preset that they name, and run the command."""
    configure_torch()
    preset = resolve_preset_defaults(arguments)
    defaults: dict[str, Any] = {} if preset is None else {"default": preset}
    command = tyro.cli(Command, prog=prog, description=description, args=arguments, **defaults)
    _resolve_run_names(command).run()


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
