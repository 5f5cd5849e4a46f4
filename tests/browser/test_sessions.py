"""Four sessions at once, each with a run of its own, while one trains and two wait: benchmarks/sessions.py, shorter."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks import sessions
from tests.browser.conftest import find_chromium

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_four_sessions_do_not_disturb_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_chromium()
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path / "replaced by the benchmark"))
    monkeypatch.setattr(sessions, "MAX_GROWTH", 1.0)  # within a minute, all is still being loaded
    options = sessions.Options(sessions=4, minutes=0.8, pause=5, pairs=500)
    with ThreadPoolExecutor(1) as thread:  # the browser of the tests before keeps an event loop in this thread
        row = thread.submit(sessions.measure, options).result()
    assert row["problems"] == []
    assert row["actions"] >= 8
