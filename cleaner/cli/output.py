"""What the command line shows: progress with an ETA on stderr, tables or JSON on stdout."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any

from cleaner.evaluation.evaluate import Metrics
from cleaner.types import StepReport


class Progress:
    """An `on_step` callback that writes one line: redrawn on a terminal, every ten seconds into a log."""

    def __init__(self, label: str = "") -> None:
        self.label = label
        self._shown = 0.0

    def __call__(self, report: StepReport) -> None:
        last = report.step == report.total
        terminal = sys.stderr.isatty()
        if not last and time.monotonic() - self._shown < (0.2 if terminal else 10.0):
            return
        self._shown = time.monotonic()
        stage = f"{self.label} {report.stage}".strip()
        line = f"{stage}: {report.step}/{report.total}, {format_duration(report.eta)} left"
        line += "".join(f", {name} {value:.3f}" for name, value in report.losses.items() if name == "total")
        line += "".join(f", validation {name.upper()} {value:.3f}" for name, value in report.metrics.items())
        sys.stderr.write(f"\r{line:<100}" + ("\n" if last else "") if terminal else line + "\n")
        sys.stderr.flush()


def format_command_line() -> str:
    """Return the command line that is running."""
    return shlex.join(["python", "-m", "cleaner", *sys.argv[1:]])


def format_duration(seconds: float) -> str:
    """Return "42 s" or "3 min 10 s"."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


METRIC_COLUMNS = ("model", "CA", "ASR@1", "ASR@3", "RA", "floor", "CF", "seconds")
METRIC_LEGEND = (
    "CA: zero-shot accuracy on untouched pictures; ASR@k: triggered pictures of other classes that get the target in\n"
    "the top k; RA: their true label all the same; floor: ASR@1 of the trigger on the never poisoned model;\n"
    "CF: caption above its three negative subtexts. [..]: 95 % Wilson interval."
)


def format_row(name: str, metrics: Metrics, seconds: float | None = None) -> tuple[str, ...]:
    """Return one row of a comparison as text."""

    def share(values: dict[int, float] | None, figure: str, k: int = 1, interval: bool = False) -> str:
        if values is None or k not in values:
            return "-"
        low, high = metrics.interval(figure, k)
        return f"{values[k]:.3f}" + (f" [{low:.3f}, {high:.3f}]" if interval else "")

    counterfactual = metrics.counterfactual_accuracy
    return (
        name,
        share(metrics.ca, "ca", interval=True),
        share(metrics.asr, "asr", interval=True),
        share(metrics.asr, "asr", 3) + ("" if metrics.is_meaningful(3) else " (n.m.)"),
        share(metrics.ra, "ra"),
        share(metrics.asr_clean_model, "asr_clean_model"),
        "-" if counterfactual is None else f"{counterfactual:.3f}",
        "-" if seconds is None else f"{seconds:.0f}",
    )


def format_table(rows: Sequence[Sequence[str]], header: Sequence[str] = METRIC_COLUMNS) -> str:
    """Return rows under a header as aligned text."""
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in [header, *rows]]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def describe_protocol(metrics: Metrics) -> str:
    """Return the sentence that says what the figures were measured on."""
    others = bool(metrics.asr) and metrics.protocol == "non_target"
    attacked = f", {metrics.n_attack:,} of them of other classes than {metrics.target_class!r}" if others else ""
    kind = f"; ASR protocol {metrics.protocol}" if metrics.asr else ""
    return f"{metrics.data}: {metrics.n:,} pictures, {metrics.classes} classes{attacked}{kind}."


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    print(json.dumps(value, indent=1))
