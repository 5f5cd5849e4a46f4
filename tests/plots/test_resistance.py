"""The chart of trigger inversion: lowest class first, the suspect in the trigger's color, the median as a line."""

from __future__ import annotations

import pytest

from cleaner.plots.resistance import MAX_BARS, resistance_bars
from cleaner.plots.styles import STAGE_COLORS

pytestmark = pytest.mark.quick


def test_bars_are_sorted_and_the_suspect_is_marked() -> None:
    figure = resistance_bars({"<b>": 3.0, "cup": 1.0, "kite": 2.0}, "cup", "kite")
    bars = figure.data[0]
    assert list(bars.y) == [1.0, 2.0, 3.0]
    assert list(bars.marker.color) == [STAGE_COLORS["trigger"], *[STAGE_COLORS["clean"]] * 2]
    assert list(figure.layout.xaxis.ticktext) == ["cup", "<b>kite</b>", "&lt;b>"]
    assert figure.layout.shapes[0].y0 == 2.0


def test_many_classes_show_those_that_give_way_most_easily() -> None:
    figure = resistance_bars({str(i): float(i) for i in range(100)}, "0")
    assert list(figure.data[0].y) == [float(i) for i in range(MAX_BARS)]
    assert figure.layout.shapes[0].y0 == 49.5
