"""report: one self-contained HTML file about some runs."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cleaner.report import write


@dataclass(frozen=True)
class Report:
    """Write one HTML file about some runs: figures, plots, pictures, protocol, settings; it needs no internet."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(help="Run folders.")]
    out: Annotated[Path, tyro.conf.arg(help="File to write.")] = Path("report.html")

    def run(self) -> None:
        path = write(self.runs, self.out, shlex.join(["python", "-m", "cleaner", *sys.argv[1:]]))
        print(f"The report lies in {path}")
