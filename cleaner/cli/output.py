"""Output of the command line: progress with an ETA on stderr, tables or JSON on stdout."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from cleaner.command_line import cleaner_command
from cleaner.evaluation.result import (
    METRICS,
    Measured,
    Metric,
    Metrics,
    columns,
    describe_metrics,
    format_metric,
    format_protocol,
)
from cleaner.labels import VERDICT_SENTENCES, format_count, stage_label
from cleaner.types import StepReport, printable

INTERVAL_NOTE = "[..]: 95% Wilson interval."


class Progress:
    """An `on_step` callback that writes one line: redrawn on a terminal, every ten seconds into a log."""

    def __init__(self, label: str = "") -> None:
        self.label = label
        self._last_written = 0.0

    def __call__(self, report: StepReport) -> None:
        is_last = report.step == report.total
        is_terminal = sys.stderr.isatty()
        if not is_last and time.monotonic() - self._last_written < (0.2 if is_terminal else 10.0):
            return
        self._last_written = time.monotonic()
        stage = stage_label(report.stage)
        stage = f"{self.label}, {stage.lower()}" if self.label else stage
        line = f"{stage}: {report.step}/{report.total}"
        line += f", {format_duration(report.eta)} left" if report.step else ""
        line += "".join(f", {name} {value:.3f}" for name, value in report.losses.items() if name == "total")
        line += "".join(f", validation {name.upper()} {value:.3f}" for name, value in report.metrics.items())
        if is_terminal:
            width = shutil.get_terminal_size().columns - 1  # a wrapped line could not be redrawn
            line = f"\r{line[:width].ljust(width)}" + ("\n" if is_last else "")
        else:
            line += "\n"
        sys.stderr.write(line)
        sys.stderr.flush()


def format_command_line(edit: Callable[[str], str] = str) -> str:
    """Return the command line that is running, each argument edited."""
    return cleaner_command(*map(edit, sys.argv[1:]))


def format_duration(seconds: float) -> str:
    """Return "42 s" or "3 min 10 s"."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def metric_header() -> tuple[str, ...]:
    """Return the header of a table of models: one column for each metric."""
    return ("model", *(row.header(k) for row, k in columns("table")), "seconds")


def metric_legend() -> str:
    """Return what the columns of a table of models mean, one line each."""
    note = f"{INTERVAL_NOTE} (n.m.): not meaningful with so few classes."
    return "\n".join([*describe_metrics(columns("table")), note])


def headline_metrics() -> list[Metric]:
    """Return the metrics of narrow tables: those that are shown with their intervals."""
    return [row for row in METRICS.values() if row.has_bounds]


def format_row(name: str, metrics: Measured, seconds: float | None = None) -> tuple[str, ...]:
    """Return one row of a table of models as text."""
    cells = [format_metric(metrics, row, k) for row, k in columns("table")]
    return (name, *cells, "-" if seconds is None else f"{seconds:.0f}")


def format_table(rows: Sequence[Sequence[str]], header: Sequence[str] | None = None) -> str:
    """Return rows as aligned text under a header, by default that of a table of models."""
    lines = [[printable(cell) for cell in line] for line in (metric_header() if header is None else header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])


def describe_protocol(metrics: Metrics) -> str:
    """Return one sentence that says what the metrics were measured on."""
    target = f", target {metrics.target_class!r}" if metrics.asr else ""
    return printable(f"{format_protocol(vars(metrics))}{target}; {format_count(metrics.classes, 'classes')}.")


def format_verdict(verdict: str, reason: str) -> str:
    """Return what `evaluation.verdict.attack_verdict` says as sentences."""
    return f"{VERDICT_SENTENCES[verdict]} {reason}"


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    print(json.dumps(value, indent=1))
