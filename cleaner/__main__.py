"""Poison an image-text model, clean it, and see what changed: python -m cleaner COMMAND."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import tyro

from cleaner.cli.commands import Defend, Evaluate, Export, InspectData, List, Poison, Pretrain, Rebound, Runs
from cleaner.cli.demo import Demo
from cleaner.cli.presets import Presets, resolve_preset_defaults
from cleaner.cli.recipe import Recipe
from cleaner.cli.report import ExportTensorboard, Report
from cleaner.cli.scan import Scan
from cleaner.cli.sweep import Sweep
from cleaner.models.devices import configure_torch
from cleaner.types import CleanerError

Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Pretrain, tyro.conf.subcommand("pretrain")]
    | Annotated[Poison, tyro.conf.subcommand("poison")]
    | Annotated[Defend, tyro.conf.subcommand("defend")]
    | Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Rebound, tyro.conf.subcommand("rebound")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Scan, tyro.conf.subcommand("scan")]
    | Annotated[InspectData, tyro.conf.subcommand("look")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[ExportTensorboard, tyro.conf.subcommand("export-tensorboard")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Runs, tyro.conf.subcommand("runs")]
    | Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Presets, tyro.conf.subcommand("presets")]
    | Annotated[Recipe, tyro.conf.subcommand("recipe")]
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return 0, or 2 after one sentence on stderr for bad input, 130 after Ctrl-C."""
    configure_torch()
    try:
        given = sys.argv[1:] if arguments is None else arguments
        defaults = resolve_preset_defaults(given)
        known: dict[str, Any] = {} if defaults is None else {"default": defaults}
        command = tyro.cli(Command, prog="python -m cleaner", description=__doc__, args=given, **known)
        command.run()
    except CleanerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
