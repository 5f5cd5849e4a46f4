"""One more metric, as a contributor adds it: a row of the table, and a run that was measured with it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import pytest

from cleaner.evaluation.result import METRICS, Metric, Metrics, row
from cleaner.files import write_json
from tests.pages.runs import make_metrics, make_runs

VALUE = 0.4375


@dataclass(frozen=True)
class MoreMetrics(Metrics):
    """`Metrics` with one more row of the table; a function of `evaluate` would measure it."""

    stealth: float | None = field(
        default=None, metadata=row("Stealth", "ST", "Share of triggers nobody sees.", better="lower", interval="wilson")
    )


def register_stealth(monkeypatch: pytest.MonkeyPatch) -> Metric:
    """Put the metric into the table for the length of a test; return its row."""
    (metadata,) = (f.metadata for f in fields(MoreMetrics) if f.name == "stealth")
    metric = replace(metadata["metric"], key="stealth")
    monkeypatch.setitem(METRICS, "stealth", metric)
    return metric


def make_measured_run(tmp_path: Path) -> Path:
    """Write a backdoored run that was measured with the metric, and a defended one that was not."""
    folder, _ = make_runs(tmp_path)
    measured = MoreMetrics(**{**vars(make_metrics(0.95)), "stealth": VALUE})
    write_json(folder / "metrics.json", measured.to_dict())
    return folder
