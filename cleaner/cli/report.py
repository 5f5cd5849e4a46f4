"""The commands that present runs to others: report, film, playground and export-tensorboard.

The reports load plotly, so they are imported where they are written.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cleaner.cli.folders import resolve_output_file
from cleaner.cli.options import stated_default
from cleaner.cli.output import format_command_line
from cleaner.runs.store import read_record


@dataclass(frozen=True)
class Report:
    """Write one HTML file about runs: metrics, plots, images, protocol and settings. It works offline."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, stated_default(metavar="RUN ...", help="Run folders.")]
    out: Annotated[Path, tyro.conf.arg(help="HTML file to write.")] = Path("report.html")

    def run(self) -> None:
        from cleaner.reports.html import write_report
        from cleaner.reports.paths import hide_folders

        write_report(self.runs, resolve_output_file(self.out, (".html", ".htm")), format_command_line(hide_folders))
        print(f"Report: {self.out}")


@dataclass(frozen=True)
class ExportFilm:
    """Write the film of one run, or of two side by side, as one HTML file that plays offline."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, stated_default(metavar="RUN [RUN]", help="Run folders.")]
    out: Annotated[Path, tyro.conf.arg(help="HTML file to write.")] = Path("film.html")

    def run(self) -> None:
        from cleaner.reports.film import load_movies, write_film_html

        path = resolve_output_file(self.out, (".html",))
        write_film_html(load_movies([read_record(folder) for folder in self.runs]), path)
        print(f"Film: {self.out}")


@dataclass(frozen=True)
class Playground:
    """Write a backdoored run and its defenses as one HTML file: drag the trigger, the models answer in the browser."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, stated_default(metavar="RUN ...", help="Run folders.")]
    out: Annotated[Path, tyro.conf.arg(help="HTML file to write.")] = Path("playground.html")

    def run(self) -> None:
        from cleaner.playground.export import write_playground

        write_playground(self.runs, resolve_output_file(self.out, (".html", ".htm")))
        print(f"Playground: {self.out}")


@dataclass(frozen=True)
class ExportTensorboard:
    """Export runs as TensorBoard event files: training curves, settings and test metrics.

    Open them with: tensorboard --logdir OUT. An unfinished run has curves only; export it again later.
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, stated_default(metavar="RUN ...", help="Run folders.")]
    out: Annotated[Path, tyro.conf.arg(help="Output folder, with a folder for each run.")] = Path("tensorboard")

    def run(self) -> None:
        from cleaner.reports import tensorboard

        for folder in tensorboard.export_runs(self.runs, self.out):
            print(f"Exported: {folder}")
