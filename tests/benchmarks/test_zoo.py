"""The benchmark of audits: detection rates count the right models."""

from __future__ import annotations

from benchmarks.zoo import summarize
from cleaner.audit.result import NOT_TESTABLE, NOTHING, SUSPICIOUS

VERDICTS = [
    ("development", "badnet", SUSPICIOUS),
    ("development", "badnet", NOTHING),
    ("development", "sig", NOT_TESTABLE),
    ("development", None, NOTHING),
    ("development", None, SUSPICIOUS),
]


def make_rows(verdicts: list[tuple[str, str | None, str]]) -> list[dict[str, str | None]]:
    return [
        {"part": part, "attack": attack, "verdict": verdict, "model": "scenes-lite", "commit": "c"}
        for part, attack, verdict in verdicts
    ]


def test_rates_count_models_that_could_be_tested() -> None:
    rates = summarize(make_rows(VERDICTS))
    assert rates["found"] == {"badnet": (1, 2)}
    assert rates["false_alarms"] == (1, 2)
    assert rates["split"] == "development"


def test_the_sealed_part_replaces_the_development_part() -> None:
    rates = summarize(make_rows([*VERDICTS, ("sealed", "sig", SUSPICIOUS), ("sealed", None, NOTHING)]))
    assert rates["found"] == {"sig": (1, 1)}
    assert rates["false_alarms"] == (0, 1)
    assert rates["split"] == "sealed"
