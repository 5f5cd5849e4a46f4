"""Runs on disk for reports, and records that differ from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cleaner.runs.record import RunRecord
from cleaner.runs.store import read_record
from tests.pages.runs import make_runs


@pytest.fixture(scope="session")
def run_folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("reported")
    return [run for seed in (0, 1, 2) for run in make_runs(folder, seed=seed)]


@pytest.fixture
def runs(run_folders: list[Path]) -> list[RunRecord]:
    """A backdoored and a defended run for each of three seeds; their files are shared, so no test changes them."""
    return [read_record(folder) for folder in run_folders]


def vary(run: RunRecord, folder: Path | str = "", metrics: dict[str, Any] | None = None, **config: Any) -> RunRecord:
    """Return a record with another folder, other metrics or other settings."""
    measured = run.metrics if metrics is None else metrics
    return RunRecord.from_config(Path(folder or run.folder), {**run.config, **config}, measured=dict(measured))
