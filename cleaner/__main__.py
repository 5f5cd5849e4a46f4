"""Poison an image-text model, clean it with TA-Cleaner or another defense, and measure what changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from cleaner.cli.app import App
from cleaner.cli.demo import Demo
from cleaner.cli.listing import InspectData, List, Runs
from cleaner.cli.models import Evaluate, Export
from cleaner.cli.presets import Presets, resolve_preset_defaults
from cleaner.cli.recipe import Recipe
from cleaner.cli.report import ExportTensorboard, Report
from cleaner.cli.scan import Scan
from cleaner.cli.sweep import Sweep
from cleaner.cli.training import Defend, Poison, Pretrain, Rebound
from cleaner.models.devices import configure_torch
from cleaner.types import CleanerError

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
    | Annotated[InspectData, tyro.conf.subcommand("inspect")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[ExportTensorboard, tyro.conf.subcommand("export-tensorboard")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Runs, tyro.conf.subcommand("runs")]
    | Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Presets, tyro.conf.subcommand("presets")]
    | Annotated[Recipe, tyro.conf.subcommand("recipe")]
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return 0, or 2 after bad input (one sentence on stderr), or 130 after Ctrl-C."""
    configure_torch()
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        preset = resolve_preset_defaults(arguments)
        defaults: dict[str, Any] = {} if preset is None else {"default": preset}
        prog = "ta-cleaner" if Path(sys.argv[0]).stem == "ta-cleaner" else "python -m cleaner"
        command = tyro.cli(Command, prog=prog, description=__doc__, args=arguments, **defaults)
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
