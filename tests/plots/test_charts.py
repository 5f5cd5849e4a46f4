"""Charts: best trade-offs, one meaning per color, literal text."""

from __future__ import annotations

from cleaner.plots import charts
from cleaner.plots.charts import STAGE_COLORS, similarity_bars, validation_curves
from cleaner.plots.comparison import TradeoffPoint, pareto, pareto_front


def test_each_backdoored_model_has_its_own_front() -> None:
    points = [
        TradeoffPoint(f"{name}{i}", "defended", 0.9 - i / 9, 0.5 - i / 9, suspect=name)
        for name in "ab"
        for i in range(2)
    ]
    fronts = [line for line in pareto(points).data if line.name == "best trade-offs"]
    assert [len(line.x) for line in fronts] == [2, 2]
    assert [line.showlegend for line in fronts] == [True, False]


def test_defense_has_one_symbol_and_one_legend_entry_in_all_panels() -> None:
    points = [
        TradeoffPoint(f"{panel} {kind}", "defended", 0.9 - i / 9, 0.5 - i / 9, legend_label=kind, panel=panel)
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


def test_pareto_front_has_the_unbeaten_points() -> None:
    a, b, c, d = (
        TradeoffPoint(n, "defended", ca, asr)
        for n, ca, asr in (("a", 0.9, 0.5), ("b", 0.8, 0.1), ("c", 0.7, 0.2), ("d", 0.9, 0.5))
    )
    assert pareto_front([a, b, c, d]) == [b, a, d]


def test_colors_differ_and_follow_the_stage() -> None:
    assert len(set(STAGE_COLORS.values())) == len(STAGE_COLORS)
    figure = pareto(
        [
            TradeoffPoint("x", "backdoored", 0.9, 0.9, (0.8, 0.95), (0.85, 0.95)),
            TradeoffPoint("y", "defended", 0.8, 0.1),
        ],
        0.02,
    )
    colors = [trace.marker.color for trace in figure.data if trace.mode == "markers"]
    assert colors == [STAGE_COLORS["backdoored"], STAGE_COLORS["defended"]]
    assert figure.layout.xaxis.title.text.startswith("Clean accuracy")


def test_text_is_escaped() -> None:
    figure = similarity_bars(["<b>red & blue</b> car"], {"Clean": ("clean", [0.3])})
    assert "&lt;b>red &amp; blue&lt;/b>" in figure.layout.yaxis.ticktext[0]


def test_curves_without_an_attack() -> None:
    figure = validation_curves({"finetune": [(1, 0.5, None), (2, 0.6, None)]}, 10)
    assert [trace.name for trace in figure.data] == ["clean accuracy"]
    assert charts.loss_curves({}, "clean").data == ()
    assert len(charts.before_after_bars([("Backdoored", "backdoored", 0.9, 0.8)]).data) == 2


def test_removal_shows_the_mean_and_the_range_of_runs() -> None:
    figure = charts.removal_curves({"A": [[(10, 0.8), (20, 0.4)], [(10, 0.6), (20, 0.0)]], "B": [[(10, 0.5)]]})
    band, mean, single = figure.data
    assert list(mean.y) == [0.7, 0.2]
    assert list(band.y) == [0.8, 0.4, 0.0, 0.6]
    assert (mean.name, single.name) == ("A", "B")
    assert mean.line.color != single.line.color
    assert mean.marker.symbol != single.marker.symbol
