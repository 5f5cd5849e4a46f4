"""watching: medians are taken over the rounds, and rates compared within a round."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import watching
from benchmarks.browser import find_chromium
from benchmarks.visitors import list_titles
from cleaner.files import read_json
from pages._shared.shell import menu


def test_rates_are_compared_within_a_round() -> None:
    phases = {"no page": [4.0, 2.0, 1.0], "Poison open": [3.0, 1.8, 0.9]}
    first, second = watching.summarize_phases(phases)
    assert (first["of_rate"], first["steps_per_second"]) == (1.0, 2.0)
    assert (second["phase"], second["of_rate"]) == ("Poison open", 0.9)


def test_every_page_is_opened_in_the_order_of_their_numbers() -> None:
    assert list_titles()[:3] == ["Overview", "Poison", "Defend"]
    assert set(list_titles()) == set(menu.titles())


def test_the_first_switch_to_a_page_is_apart() -> None:
    busy, idle = {"Overview": [4.0, 1.0, 1.5], "Poison": [2.0]}, {"Overview": [0.2, 0.4], "Poison": [0.3]}
    rows = watching.summarize_switches(busy, idle)
    assert rows == [
        {"page": "Overview", "first_seconds": 4.0, "later_seconds": 1.25, "idle_seconds": 0.3},
        {"page": "Poison", "first_seconds": 2.0, "later_seconds": None, "idle_seconds": 0.3},
    ]


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
    assert [row["page"] for row in result["page_switches"]] == list_titles()
