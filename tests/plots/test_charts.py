"""Charts: best trade-offs, one meaning per color, literal text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cleaner.plots import charts
from cleaner.plots.charts import STAGE_COLORS, similarity_bars
from cleaner.plots.comparison import TradeoffPoint, attack_defense_heatmap, pareto, pareto_front
from cleaner.plots.equal_accuracy import CostPanel, CostPoint, equal_accuracy
from cleaner.plots.features import PointGroup, embedding_map, margin_histogram
from cleaner.plots.images import share_distribution, word_bars
from cleaner.plots.styles import find_style
from cleaner.variant import Variant

pytestmark = pytest.mark.quick


def test_each_backdoored_model_has_its_own_front() -> None:
    points = [
        TradeoffPoint(label=f"{name}{i}", kind="defended", ca=0.9 - i / 9, asr=0.5 - i / 9, suspect=name)
        for name in "ab"
        for i in range(2)
    ]
    fronts = [line for line in pareto(points).data if line.name == "best trade-offs"]
    assert [len(line.x) for line in fronts] == [2, 2]
    assert [line.showlegend for line in fronts] == [True, False]


def test_defense_has_one_symbol_and_one_legend_entry_in_all_panels() -> None:
    points = [
        TradeoffPoint(
            label=f"{panel} {kind}", kind="defended", ca=0.9 - i / 9, asr=0.5 - i / 9, legend_label=kind, panel=panel
        )
        for panel in ("a < b", "c")
        for i, kind in enumerate(("PAR", "TA-Cleaner"))
    ]
    figure = pareto(points)
    marks = [trace for trace in figure.data if trace.mode == "markers"]
    assert [(m.name, m.showlegend) for m in marks[:2]] == [("PAR", True), ("TA-Cleaner", True)]
    assert [m.showlegend for m in marks[2:]] == [False, False]
    assert [m.marker.symbol for m in marks[:2]] == [m.marker.symbol for m in marks[2:]]
    assert marks[0].xaxis != marks[2].xaxis
    assert [title.text for title in figure.layout.annotations] == ["a &lt; b", "c"]
    assert len([line for line in figure.data if line.mode == "lines"]) == 2


def test_points_have_their_values_and_intervals() -> None:
    measured = TradeoffPoint(
        label="x", kind="backdoored", ca=0.9, asr=0.7, ca_interval=(0.8, 0.93), asr_interval=(0.65, 0.78)
    )
    point, other = pareto([measured, TradeoffPoint(label="y", kind="defended", ca=0.6, asr=0.1)]).data[-2:]
    assert (point.x, point.y, other.x, other.y) == ((0.9,), (0.7,), (0.6,), (0.1,))
    bars = [length for error in (point.error_x, point.error_y) for length in (*error.arrayminus, *error.array)]
    assert bars == pytest.approx([0.1, 0.03, 0.05, 0.08])
    assert other.error_x.visible is other.error_y.visible is False


@pytest.mark.parametrize("panels", ["abcd", "abcde", "abcdef"])
def test_the_lowest_panel_of_each_column_has_an_axis(panels: str) -> None:
    points = [TradeoffPoint(label=panel, kind="defended", ca=0.9, asr=0.5, panel=panel) for panel in panels]
    figure = pareto(points)
    titled = [figure.get_subplot(number // 3 + 1, number % 3 + 1).xaxis for number in range(len(panels))][-3:]
    assert all(axis.title.text and axis.showticklabels is not False for axis in titled)


def test_each_panel_has_the_floor() -> None:
    points = [
        TradeoffPoint(label=panel, kind="defended", ca=0.9, asr=0.5, panel=panel) for panel in "abcd"
    ]  # in 2 rows of 3 panels
    figure = pareto(points, 0.02)
    assert [shape.y0 for shape in figure.layout.shapes] == [0.02] * 4
    assert [trace.name for trace in figure.data].count("clean model") == 1, "one entry of the legend"
    assert [shape.y0 for shape in pareto(points[:1], 0.02).layout.shapes] == [0.02]


def test_pareto_front_has_the_unbeaten_points() -> None:
    a, b, c, d = (
        TradeoffPoint(label=n, kind="defended", ca=ca, asr=asr)
        for n, ca, asr in (("a", 0.9, 0.5), ("b", 0.8, 0.1), ("c", 0.7, 0.2), ("d", 0.9, 0.5))
    )
    assert pareto_front([a, b, c, d]) == [b, a, d]


def test_colors_differ_and_follow_the_stage() -> None:
    assert len(set(STAGE_COLORS.values())) == len(STAGE_COLORS)
    figure = pareto(
        [
            TradeoffPoint(
                label="x", kind="backdoored", ca=0.9, asr=0.9, ca_interval=(0.8, 0.95), asr_interval=(0.85, 0.95)
            ),
            TradeoffPoint(label="y", kind="defended", ca=0.8, asr=0.1),
        ],
        0.02,
    )
    colors = [trace.marker.color for trace in figure.data if trace.mode == "markers"]
    assert colors == [STAGE_COLORS["backdoored"], STAGE_COLORS["defended"]]
    assert figure.layout.xaxis.title.text.startswith("Clean accuracy")


def test_what_the_legend_hides_stays_hidden_only_among_the_same_traces() -> None:
    def draw_map(*names: str) -> Any:
        points = np.zeros((1, 2), np.float32)
        groups = [PointGroup(name, "#000000", "circle", points, ["image:0"], ["a"]) for name in names]
        return embedding_map(groups, ("x", "y")).layout

    def draw_bars(*names: str) -> Any:
        return similarity_bars(["a dog"], {name: ("par", [0.3]) for name in names}).layout

    for draw in (draw_map, draw_bars):
        layout, same, other = draw("a", "b"), draw("a", "b"), draw("b", "a")
        assert layout.legend.uirevision == same.legend.uirevision != other.legend.uirevision
        assert layout.uirevision == other.uirevision  # zooms survive


@pytest.mark.parametrize(
    "draw",
    [
        lambda name: similarity_bars(["a dog"], {name: ("par", [0.3])}),
        lambda name: word_bars(["a"], {name: ("par", [0.3])}),
        lambda name: charts.before_after_bars([(name, "par", 0.9, 0.1)]),
        lambda name: share_distribution({name: ("par", [0.1], [0.2])}, "Share", None),
        lambda name: margin_histogram({name: ("par", [0.1])}),
    ],
)
def test_names_are_shown_literally(draw: Callable[[str], Any]) -> None:
    spec = draw("<a href='x'>name</a>").to_json()
    assert "&lt;a href" in spec
    assert not re.search(r"<a|\\u003ca", spec)


def test_a_number_stays_in_one_line_with_its_name() -> None:
    for width in range(6, 30):
        lines = charts.wrap_label("SIG, on scenes/test, n = 49", width).split("<br>")
        assert "n\u00a0=\u00a049" in lines[-1]


def test_a_label_that_needs_more_lines_ends_with_an_ellipsis() -> None:
    assert charts.wrap_label("a red fish on the lake", 10, max_lines=2) == "a red fish<br>on the …"
    assert charts.wrap_label("a red fish", 10, max_lines=1) == "a red fish"


def test_titles_of_a_heat_map_keep_off_its_labels_which_take_no_room_from_its_cells() -> None:
    short, long = (attack_defense_heatmap({(name, "par"): (0.5, 0.4, 0.6, 3)}, "ASR") for name in ("a", "a b " * 30))
    for axis in (long.layout.xaxis, long.layout.yaxis):
        assert axis.automargin
        assert axis.title.standoff
    assert long.layout.height > short.layout.height + 50


def test_bars_have_the_values_of_their_names() -> None:
    bars = charts.before_after_bars([("Backdoored", "backdoored", 0.9, 0.8), ("PAR", "par", 0.7, 0.1)])
    assert {bar.name: (bar.y, bar.text) for bar in bars.data} == {
        "attack success": ((0.8, 0.1), ("80%", "10%")),
        "clean accuracy": ((0.9, 0.7), ("90%", "70%")),
    }


def test_equal_labels_have_bars_of_their_own() -> None:
    bars = charts.before_after_bars([("PAR", "par", 0.9, 0.8), ("PAR", "par", 0.9, 0.1)])
    assert [len(set(trace.x)) for trace in bars.data] == [2, 2]
    assert list(bars.layout.xaxis.ticktext) == ["PAR", "PAR"]


def test_the_band_has_the_steps_of_its_line() -> None:
    points = [
        CostPoint(loss=loss, asr=asr, low=asr - 0.1, high=asr + 0.1)
        for loss, asr in ((0.0, 0.8), (0.02, 0.5), (0.05, 0.2))
    ]
    band, line = equal_accuracy([CostPanel("BadNet", {Variant("par"): points})]).data
    assert line.line.shape == "hv"
    steps, half = [0.0, 0.02, 0.02, 0.05, 0.05], len(band.x) // 2
    assert (list(band.x[:half]), list(band.x[half:])) == (steps, steps[::-1])
    assert list(band.y[:half]) == pytest.approx([0.9, 0.9, 0.6, 0.6, 0.3])
    assert list(band.y[half:]) == pytest.approx([0.1, 0.4, 0.4, 0.7, 0.7])


def test_a_defense_looks_the_same_in_every_chart() -> None:
    style = find_style("ta_cleaner")
    bars = charts.before_after_bars([("Backdoored", "backdoored", 0.9, 0.8), ("Cleaned", "ta_cleaner", 0.9, 0.1)])
    assert bars.data[0].marker.color[1] == charts.fade(style.color, 1.0)
    assert [bar.marker.line.color[1] for bar in bars.data] == [style.color] * 2, "the faded bar has an outline"
    (similarity,) = similarity_bars(["a dog"], {"Cleaned": ("ta_cleaner", [0.3])}).data
    assert similarity.marker.color == style.color
    points = [
        TradeoffPoint(label="TA-Cleaner", kind="ta_cleaner", ca=0.9, asr=0.1),
        TradeoffPoint(label="PAR", kind="par", ca=0.9, asr=0.2),
        TradeoffPoint(label="TA-Cleaner, lr 1", kind="ta_cleaner", ca=0.8, asr=0.1),
    ]
    first, _, other = (trace.marker for trace in pareto(points).data if trace.mode == "markers")
    assert (first.color, first.symbol) == (style.color, style.mark)
    assert (other.color, other.symbol) == (style.color, f"{style.mark}-open")


def test_lines_without_marks_differ_in_dash() -> None:
    names = ["ta_cleaner", "par", "finetune", "ta_cleaner"]
    lines = equal_accuracy(
        [CostPanel("BadNet", {Variant(name): [CostPoint(loss=0.0, asr=0.5, low=0.5, high=0.5)] for name in names})]
    ).data
    assert {line.mode for line in lines} == {"lines"}
    assert len({line.line.dash for line in lines}) == len(lines) == 3


@pytest.mark.parametrize("draw", [similarity_bars, word_bars])
def test_bars_beside_each_other_differ_in_hatching(draw: Callable[..., Any]) -> None:
    stages = {name: (name, [0.3]) for name in ("clean", "backdoored", "ta_cleaner")}
    patterns = [bar.marker.pattern.shape for bar in draw(["a dog"], stages).data]
    assert len(set(patterns)) == 3
