"""The table of trigger inversion: right and wrong suspects, false alarms of clean models, ranges over seeds."""

from __future__ import annotations

from benchmarks.inversion import describe
from cleaner.runs.inversion_result import Inversion


def test_a_row_has_no_image() -> None:
    found = Inversion(
        model="m", data="d", classes={"a": 1.0, "b": 2.0}, suspect="a", settings={}, seconds=0.0, png="AAAA"
    )
    assert describe(found)["inversion"]["png"] == ""
