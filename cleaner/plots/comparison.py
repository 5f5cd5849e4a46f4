"""Charts that compare runs: the trade-off of accuracy and attack success, and attacks against defenses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cleaner.plots.charts import GRAY, apply_layout, escape_html, title_panels, wrap_label
from cleaner.plots.styles import Style, find_styles
from cleaner.variant import Variant

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class TradeoffPoint:
    """One model in the plane of clean accuracy and attack success, 0..1, with 95% intervals if known."""

    label: str
    kind: str
    """Its defense, else its stage: decides color and mark."""
    ca: float
    asr: float
    ca_interval: Interval | None = None
    asr_interval: Interval | None = None
    is_candidate: bool = True
    """Whether the model may be on a line of best trade-offs; a rebound test only checks another model."""
    suspect: str = ""
    """The backdoored model, or the one that was defended; each has its own line of best trade-offs."""
    legend_label: str = ""
    """Legend entry that all points of a kind share; empty: the label."""
    panel: str = ""
    """Title of the panel."""
    success: str = "Attack success @1"
    """Name of the metric in `asr`: an attack may be judged by another one than ASR."""


def pareto(points: Sequence[TradeoffPoint], floor: float | None = None) -> go.Figure:
    """Return attack success against clean accuracy per panel, with a line through each model's best trade-offs."""
    success = {p.panel: p.success for p in points}
    panels = list(success)
    kinds = dict.fromkeys(p.legend_label or p.label for p in points)
    first = {entry: next(p.kind for p in points if (p.legend_label or p.label) == entry) for entry in kinds}
    styles = dict(zip(first, find_styles(first.values()), strict=True))
    columns = max(1, min(3, len(panels)))
    rows = max(1, -(-len(panels) // columns))
    titles, y_title = title_panels(list(success.items()))
    figure = make_subplots(
        rows,
        columns,
        shared_xaxes="all",
        shared_yaxes="all",
        subplot_titles=titles if len(panels) > 1 else None,
        horizontal_spacing=0.03,
        vertical_spacing=0.22 / rows,
    )
    in_legend: set[str] = set()
    for number, panel in enumerate(panels):
        cell = {"row": number // columns + 1, "col": number % columns + 1}
        panel_points = [p for p in points if p.panel == panel]
        _add_fronts(figure, panel_points, cell, in_legend)
        _add_points(figure, panel_points, styles, cell, in_legend)
    if floor is not None:  # after the points: Plotly draws no line across an empty panel
        line = {"color": GRAY, "dash": "dot"}
        figure.add_hline(y=floor, line=line)
        # In the legend: a label at the line would cover points near it.
        figure.add_scatter(x=[None], y=[None], mode="lines", name="clean model", line=line)
    height = (120 + 260 * rows if rows > 1 else 380) + 20 * max(0, len(styles) - 3)  # room for the lines of the legend
    apply_layout(figure, height)
    if len(panels) > 1:
        lines = max(title.count("<br>") for title in titles[:columns])
        figure.update_layout(legend_y=1 + (0.13 + 0.09 * lines) / rows)  # above the titles
    # Panels share their axes: a title at the edge is enough. Below some panels of the last row but one there is none.
    x_title = "Clean accuracy (higher is better)"
    figure.update_xaxes(title=x_title, row=rows)
    for column in range(len(panels) - (rows - 1) * columns + 1, columns + 1) if rows > 1 else ():
        figure.update_xaxes(title=x_title, showticklabels=True, row=rows - 1, col=column)
    figure.update_yaxes(title=f"{y_title} (lower is better)", col=1)
    figure.update_xaxes(tickformat="~%")  # accuracies may be within one point of each other
    return figure.update_yaxes(tickformat=".0%", range=[-0.04, 1.04])


def _add_fronts(
    figure: go.Figure, points: Sequence[TradeoffPoint], cell: Mapping[str, int], in_legend: set[str]
) -> None:
    """Draw a line through the best trade-offs of each backdoored model; the first one enters the legend."""
    for suspect in dict.fromkeys(p.suspect for p in points):
        front = pareto_front([p for p in points if p.is_candidate and p.suspect == suspect])
        if len(front) > 1:
            figure.add_scatter(
                x=[p.ca for p in front],
                y=[p.asr for p in front],
                mode="lines",
                name="best trade-offs",
                line={"color": GRAY, "dash": "dash", "width": 1.5},
                hoverinfo="skip",
                legendgroup="front",
                showlegend="front" not in in_legend,
                **cell,
            )
            in_legend.add("front")


def _add_points(
    figure: go.Figure,
    points: Sequence[TradeoffPoint],
    styles: Mapping[str, Style],
    cell: Mapping[str, int],
    in_legend: set[str],
) -> None:
    """Draw the points; the first one of each legend entry enters the legend, which decides color and mark."""
    for p in points:
        entry = p.legend_label or p.label
        style = styles[entry]
        figure.add_scatter(
            x=[p.ca],
            y=[p.asr],
            mode="markers",
            name=escape_html(entry),
            legendgroup=escape_html(entry),
            showlegend=entry not in in_legend,
            marker={
                "symbol": style.mark,
                "size": 14,
                "color": style.color,
                "line": {
                    "width": 2 if "open" in style.mark else 1,
                    "color": style.color if "open" in style.mark else "white",
                },
            },
            error_x=_error_bars(p.ca, p.ca_interval, style.color),
            error_y=_error_bars(p.asr, p.asr_interval, style.color),
            hovertemplate=f"{escape_html(p.label)}<br>clean accuracy %{{x:.1%}}<br>{p.success.lower()} %{{y:.1%}}"
            "<extra></extra>",
            **cell,
        )
        in_legend.add(entry)


def _error_bars(value: float, interval: Interval | None, color: str) -> dict[str, object]:
    if interval is None:
        return {"visible": False}
    plus, minus = [interval[1] - value], [value - interval[0]]
    return {
        "type": "data",
        "array": plus,
        "arrayminus": minus,
        "color": color,
        "thickness": 1.2,
        "width": 3,
    }


def pareto_front(points: Sequence[TradeoffPoint]) -> list[TradeoffPoint]:
    """Return the points that no other beats in both clean accuracy and attack success, by rising accuracy."""
    front = [
        p for p in points if not any(o.ca >= p.ca and o.asr <= p.asr and (o.ca, o.asr) != (p.ca, p.asr) for o in points)
    ]
    return sorted(front, key=lambda p: (p.ca, p.asr))


def attack_defense_heatmap(cells: Mapping[tuple[str, str], tuple[float, float, float, int]], title: str) -> go.Figure:
    """Return defenses x attacks: (attack, defense) -> (mean, minimum, maximum, seeds) of a share."""
    attacks = list(dict.fromkeys(attack for attack, _ in cells))
    defenses = sorted(dict.fromkeys(defense for _, defense in cells), key=lambda defense: defense != Variant().label)
    columns = {attack: wrap_label(attack, 14) for attack in attacks}
    rows = {defense: escape_html(defense) for defense in defenses}
    figure = go.Figure()
    figure.add_heatmap(
        z=[[cells.get((attack, defense), (None,))[0] for attack in attacks] for defense in defenses],
        x=list(columns.values()),
        y=list(rows.values()),
        colorscale="Cividis",
        zmin=0,
        zmax=1,
        xgap=3,
        ygap=3,
        hoverinfo="skip",
        colorbar={"tickformat": ".0%", "thickness": 12},
    )
    # The heat map's own text is dark gray on mid gray.
    figure.add_scatter(
        x=[columns[attack] for attack, _ in cells],
        y=[rows[defense] for _, defense in cells],
        mode="text",
        text=[_format_cell(*cell) for cell in cells.values()],
        hoverinfo="skip",
        showlegend=False,
        textfont={"size": 12, "color": ["white" if mean < 0.48 else "black" for mean, *_ in cells.values()]},
    )
    # With a standoff, margins make room for both the labels and the title.
    figure.update_xaxes(title={"text": "Attack", "standoff": 12}, side="top", automargin=True, tickangle=0)
    figure.update_yaxes(title={"text": "Defense", "standoff": 12}, autorange="reversed", automargin=True)
    lines = max((label.count("<br>") for label in columns.values()), default=0)
    return figure.update_layout(
        height=130 + 15 * lines + 52 * len(defenses),
        margin={"l": 8, "r": 8, "t": 40, "b": 30},
        uirevision="keep",
        annotations=[
            {
                "text": escape_html(title),
                "showarrow": False,
                "xref": "paper",
                "yref": "paper",
                "x": 0,
                "y": 0,
                "yshift": -22,
                "font": {"size": 12},
            }
        ],
    )


def _format_cell(mean: float, low: float, high: float, seeds: int) -> str:
    if seeds == 1:
        return f"{mean:.1%}<br>1 seed"
    return f"{mean:.1%}<br>[{100 * low:.1f}, {100 * high:.1f}]<br>{seeds} seeds"
