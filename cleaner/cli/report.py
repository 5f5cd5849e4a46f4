"""report, export-tensorboard: runs in a form for others to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cleaner.cli.folders import check_writable
from cleaner.cli.output import format_command_line
from cleaner.reports import tensorboard
from cleaner.reports.html import write_report


@dataclass(frozen=True)
class Report:
    """Write one HTML file about some runs: figures, plots, pictures, protocol, settings; it needs no internet."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(help="Run folders.")]
    out: Annotated[Path, tyro.conf.arg(help="File to write.")] = Path("report.html")

    def run(self) -> None:
        check_writable(self.out, "file")
        path = write_report(self.runs, self.out, format_command_line())
        print(f"The report lies in {path}")


@dataclass(frozen=True)
class ExportTensorboard:
    """Write runs as TensorBoard event files: curves of each run, and its settings with its test figures.

    Look at them with: tensorboard --logdir OUT. A run that is not finished has curves only; export it again later.
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(help="Run folders.")]
    out: Annotated[Path, tyro.conf.arg(help="Folder to write into, a folder for each run.")] = Path("tensorboard")

    def run(self) -> None:
        for folder in tensorboard.export_runs(self.runs, self.out):
            print(f"Written: {folder}")
