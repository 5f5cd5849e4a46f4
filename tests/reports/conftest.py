"""Runs on disk for reports, and records that differ from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cleaner.runs.record import RunRecord
from cleaner.runs.store import read_record
from tests.pages.runs import make_runs


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunRecord]:
    """A backdoored and a defended run for each of three seeds."""
    monkeypatch.setenv("CLEANER_CACHE", str(tmp_path / "cache"))
    folders = [folder for seed in (0, 1, 2) for folder in make_runs(tmp_path, seed=seed)]
    return [read_record(folder) for folder in folders]


def vary(run: RunRecord, folder: Path | str = "", metrics: dict[str, Any] | None = None, **config: Any) -> RunRecord:
    """Return a record with another folder, other metrics or other settings."""
    measured = run.metrics if metrics is None else metrics
    return RunRecord.from_config(Path(folder or run.folder), {**run.config, **config}, measured=dict(measured))
