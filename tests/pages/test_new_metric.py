"""A metric that is new in the table appears on cards and in tables without a change to any page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.extra_metric import VALUE, make_measured_run, register_stealth
from tests.pages.conftest import OpenPage


def test_one_more_metric_is_on_the_pages(open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_stealth(monkeypatch)
    folder = make_measured_run(tmp_path)
    app = open_page("Defend")
    assert ("Stealth", "43.8%") in [(card.label, card.value) for card in app.metric]
    assert 100 * VALUE in next(frame.value["ST"].tolist() for frame in app.dataframe if "ST" in frame.value)
    app = open_page("Compare")
    app.toggle(key="compare.all_columns").set_value(True).run()
    table = app.dataframe[0].value.set_index("Run")
    assert table.loc[folder.name, "ST"] == pytest.approx(100 * VALUE)
    assert app.dataframe[0].proto.placeholder == "–", "else a metric that was not measured reads None"
