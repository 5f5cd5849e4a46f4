"""Charts of the lowest attack success that a defense reaches for the accuracy that it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cleaner.plots.charts import add_band, apply_layout, escape_html, title_panels
from cleaner.plots.styles import STAGE_COLORS, Style, find_line_styles
from cleaner.variant import Variant

MAX_LOSS = 0.10
"""Loss of accuracy where the charts end."""


@dataclass(frozen=True, kw_only=True)
class CostPoint:
    """Accuracy lost and attack success left, as shares: a mean, with the lowest and highest success behind it."""

    loss: float
    asr: float
    low: float
    high: float
    note: str = ""
    """Further line when the mouse is over the point, such as the learning rate."""


@dataclass(frozen=True)
class CostPanel:
    """One attack: defense -> its points; success on the backdoored model."""

    title: str
    curves: Mapping[Variant, Sequence[CostPoint]]
    undefended: float | None = None
    success: str = "Attack success @1"
    """Name of the metric of attack success: an attack may be judged by another one than ASR."""


def equal_accuracy(panels: Sequence[CostPanel]) -> go.Figure:
    """Return each defense's lowest success among its settings that lose at most x, as steps; a band over models."""
    figure = _make_panels(panels)
    defenses = _list_defenses(panels)
    styles = dict(zip(defenses, find_line_styles(variant.first for variant in defenses), strict=True))
    for number, panel in enumerate(panels):
        for variant, points in panel.curves.items():
            style = styles[variant]
            if any(p.high > p.low for p in points):
                twice = [p for p in points for _ in range(2)]  # the corners of the steps, as shape="hv" draws the mean
                add_band(
                    figure,
                    [p.loss for p in twice[1:]],
                    [p.low for p in twice[:-1]],
                    [p.high for p in twice[:-1]],
                    style.color,
                    opacity=0.12,
                    legendgroup=variant.key,
                    **_place(number),
                )
            _add_line(figure, variant, points=points, number=number, style=style, success=panel.success)
    return _finish(figure, panels)


def _add_line(
    figure: go.Figure, variant: Variant, points: Sequence[CostPoint], number: int, style: Style, success: str
) -> None:
    label = escape_html(variant.label)
    is_first = not any(trace.legendgroup == variant.key and trace.showlegend for trace in figure.data)
    figure.add_scatter(
        x=[p.loss for p in points],
        y=[p.asr for p in points],
        mode="lines",
        name=label,
        legendgroup=variant.key,
        showlegend=is_first,
        line={"color": style.color, "dash": style.dash, "width": 2.5, "shape": "hv"},
        text=[escape_html(p.note) for p in points],
        hovertemplate=f"{label}<br>lost %{{x:.1%}}, {success.lower()} %{{y:.1%}}<br>%{{text}}<extra></extra>",
        **_place(number),
    )


def _list_defenses(panels: Sequence[CostPanel]) -> list[Variant]:
    """Return the defenses, which have the same style in all panels."""
    return list(dict.fromkeys(variant for panel in panels for variant in panel.curves))


def _make_panels(panels: Sequence[CostPanel]) -> go.Figure:
    titles, _ = _title_panels(panels)
    columns = max(1, min(2, len(panels)))
    return make_subplots(
        max(1, -(-len(panels) // columns)),
        columns,
        shared_yaxes=True,
        subplot_titles=titles,
        horizontal_spacing=0.04,
    )


def _title_panels(panels: Sequence[CostPanel]) -> tuple[list[str], str]:
    return title_panels([(panel.title, panel.success) for panel in panels])


def _place(number: int) -> dict[str, int]:
    return {"row": number // 2 + 1, "col": number % 2 + 1}


def _finish(figure: go.Figure, panels: Sequence[CostPanel]) -> go.Figure:
    """Draw the lines of the models without a defense, axes and layout."""
    for number, panel in enumerate(panels):
        if panel.undefended is not None:
            line = {"dash": "dash", "color": STAGE_COLORS["backdoored"]}
            figure.add_hline(panel.undefended, line=line, **_place(number))
    rows = max(1, -(-len(panels) // 2))
    apply_layout(figure, 130 + 300 * rows + 20 * (len(_list_defenses(panels)) // 3))
    figure.update_layout(legend_y=1 + 0.14 / rows)  # above the titles
    figure.update_xaxes(title="Largest allowed loss of clean accuracy", tickformat="~%", range=[0, MAX_LOSS])
    figure.update_yaxes(tickformat=".0%", range=[-0.04, 1.04])
    return figure.update_yaxes(title=_title_panels(panels)[1], col=1)
