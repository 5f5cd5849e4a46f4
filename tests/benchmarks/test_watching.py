"""watching: medians are taken over the rounds, and rates compared within a round."""

import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import live_drawing, watching
from benchmarks.browser import find_chromium
from cleaner.files import read_json
from pages._shared import frame


def measured(rate: float) -> dict[str, float]:
    return {"steps_per_second": rate, "server_cpu": 0.1, "browser_cpu": 0.2}


def test_rates_are_compared_within_a_round() -> None:
    phases = {
        "no page": [measured(4.0), measured(2.0), measured(1.0)],
        "Poison open": [measured(3.0), measured(1.8), measured(0.9)],
    }
    first, second = watching.summarize_phases(phases)
    assert (first["of_rate"], first["steps_per_second"]) == (1.0, 2.0)
    assert (second["phase"], second["of_rate"], second["server_cpu"]) == ("Poison open", 0.9, 0.1)


def test_every_page_is_opened() -> None:
    assert set(watching.PAGES) == set(frame.titles())


def test_the_first_switch_to_a_page_is_apart() -> None:
    busy, idle = {"Overview": [4.0, 1.0, 1.5], "Poison": [2.0]}, {"Overview": [0.2, 0.4], "Poison": [0.3]}
    rows = watching.summarize_switches(busy, idle)
    assert rows == [
        {"page": "Overview", "first_seconds": 4.0, "later_seconds": 1.25, "idle_seconds": 0.3},
        {"page": "Poison", "first_seconds": 2.0, "later_seconds": None, "idle_seconds": 0.3},
    ]


def test_a_growing_run_has_reports_like_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from pages._shared.live_charts import RunStyle, read_new_lines

    stop = threading.Event()
    monkeypatch.setattr(live_drawing, "REPORT_SECONDS", 0.001)
    writer = threading.Thread(target=live_drawing.grow, args=(tmp_path, stop))
    writer.start()
    while not (tmp_path / "progress.jsonl").exists() or len((tmp_path / "progress.jsonl").read_bytes()) < 100_000:
        pass
    stop.set()
    writer.join()
    lines = {line["id"]: line["points"] for line in read_new_lines(tmp_path, "", RunStyle("", "", "", ""))["lines"]}
    assert set(lines) == {"total", "ca", "asr"}
    assert all(math.isfinite(value) for _, value in lines["total"])


@pytest.mark.slow
def test_a_short_measurement_writes_its_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        find_chromium()
    except SystemExit as reason:
        pytest.skip(str(reason))
    monkeypatch.setenv("CLEANER_RUNS", str(tmp_path))
    out = tmp_path / "watching.json"
    watching.main(watching.Options(seconds=10.0, rounds=1, out=out))
    result: dict[str, Any] = read_json(out)
    assert [row["phase"] for row in result["phases"]] == list(watching.PHASES)
    assert result["phases"][0]["of_rate"] == 1.0
    assert [row["page"] for row in result["page_switches"]] == list(watching.PAGES)
    assert [row["way"] for row in result["drawing"]] == list(live_drawing.WAYS)
    assert all(row["updates"] > 0 for row in result["drawing"])
