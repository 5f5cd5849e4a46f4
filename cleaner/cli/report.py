"""The commands that present runs to others: report and export-tensorboard."""

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
    """Write one HTML file about runs: metrics, plots, images, protocol and settings. It works offline."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN ...", help="Run folders.")]
    out: Annotated[Path, tyro.conf.arg(help="HTML file to write.")] = Path("report.html")

    def run(self) -> None:
        check_writable(self.out, "file")
        path = write_report(self.runs, self.out, format_command_line())
        print(f"Report: {path}")


@dataclass(frozen=True)
class ExportTensorboard:
    """Export runs as TensorBoard event files: training curves, settings and test metrics.

    Open them with: tensorboard --logdir OUT. An unfinished run has curves only; export it again later.
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN ...", help="Run folders.")]
    out: Annotated[Path, tyro.conf.arg(help="Output folder, with a folder for each run.")] = Path("tensorboard")

    def run(self) -> None:
        for folder in tensorboard.export_runs(self.runs, self.out):
            print(f"Exported: {folder}")
