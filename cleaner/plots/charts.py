"""Charts of plain numbers, training curves and bars, and the layout of all charts."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from cleaner.plots.styles import DASHES, STAGE_COLORS, find_line_styles, find_style

GRAY = STAGE_COLORS["floor"]
MARKERS = (
    "circle",
    "diamond",
    "square",
    "triangle-up",
    "star",
    "hexagon",
    "cross",
    "pentagon",
    "triangle-down",
    "x",
    "hourglass",
    "bowtie",
    "star-square",
    "diamond-wide",
)
"""Marks of classes and other things that are no models."""
CATEGORY_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#B3A100")
"""Colors of things that are neither models nor triggers, such as classes."""
HATCHES = dict(zip(DASHES, ("", "/", ".", "x", "-", "+"), strict=True))
"""Dash of a line -> hatching of a bar, both of which tell models of one color apart."""
HATCHING = {"fillmode": "overlay", "fgcolor": "white", "size": 7, "solidity": 0.25}
LEGEND_ABOVE = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0}
"""Position of a legend above the plot."""


def apply_layout(
    figure: go.Figure, height: int, x_title: str = "", y_title: str = "", *, show_legend: bool = True
) -> go.Figure:
    """Set the height, axis titles and the common margins of a figure with all its traces; zooms survive a redraw."""
    keep_view(figure)
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 36, "b": 8},
        showlegend=show_legend,
        hovermode="closest",
        legend=LEGEND_ABOVE,
    )
    figure.update_xaxes(title=x_title, zeroline=False, automargin=True)
    figure.update_yaxes(title=y_title, zeroline=False, automargin=True)
    return figure


def keep_view(figure: go.Figure) -> go.Figure:
    """Let zooms survive a redraw, and what was hidden in the legend while the traces are the same."""
    # Plotly finds a hidden trace again by its position: among other traces it would hide another one.
    names = "/".join(str(trace.name) for trace in figure.data)
    return figure.update_layout(uirevision="keep", legend_uirevision=names)


def add_band(
    figure: go.Figure, x: Sequence[float], low: Sequence[float], high: Sequence[float], color: str, **options: Any
) -> None:
    """Draw a faint band between two lines; `options` go to Plotly's scatter."""
    figure.add_scatter(
        x=[*x, *reversed(x)],
        y=[*high, *reversed(low)],
        fill="toself",
        mode="none",
        fillcolor=color,
        hoverinfo="skip",
        showlegend=False,
        **options,
    )


def similarity_bars(texts: Sequence[str], values: Mapping[str, tuple[str, Sequence[float]]]) -> go.Figure:
    """Return bars of one image's cosines, top to bottom: label -> (stage or defense, value per text)."""
    figure = go.Figure()
    rows = list(range(len(texts)))
    styles = find_line_styles(kind for kind, _ in values.values())
    for (label, (_, cosines)), style in zip(values.items(), styles, strict=True):
        figure.add_bar(
            y=rows,
            x=list(cosines),
            orientation="h",
            name=escape_html(label),
            text=[f"{c:.2f}" for c in cosines],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{x:.3f}<extra>" + escape_html(label) + "</extra>",
            marker={"color": style.color, "pattern": {"shape": HATCHES[style.dash], **HATCHING}},
        )
    figure.update_layout(barmode="group", bargap=0.28, bargroupgap=0.05)
    height = 90 + len(texts) * (22 + 19 * len(values))
    apply_layout(figure, height, "Similarity of image and text (cosine)")
    ticks = [wrap_label(text, 35, max_lines=4) for text in texts]
    return figure.update_yaxes(tickvals=rows, ticktext=ticks, autorange="reversed")


def escape_html(text: str) -> str:
    """Return text that plotly shows literally; plotly interprets some HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def wrap_label(text: str, width: int, max_lines: int | None = None) -> str:
    """Return a text, shown literally, in few lines of `width` characters; "n = 49" is never split."""
    lines = textwrap.wrap(
        text.replace(" = ", "\u00a0=\u00a0"),
        width,
        max_lines=max_lines,
        placeholder=" …",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "<br>".join(map(escape_html, lines))


def title_panels(panels: Sequence[tuple[str, str]]) -> tuple[list[str], str]:
    """Return the titles of (title, success metric) panels, with the metric where they differ, and of y."""
    metrics = {metric for _, metric in panels}
    y_title = "Attack success" if len(metrics) > 1 else next(iter(metrics), "Attack success @1")
    titles = [f"{title}: {metric.lower()}" if len(metrics) > 1 else title for title, metric in panels]
    return [wrap_label(title, 34) for title in titles], y_title


def fade(color: str, opacity: float) -> str:
    """Return a color "#rrggbb" with an opacity."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity:g})"


def darken(color: str) -> str:
    """Return a color "#rrggbb" at 70% of its brightness, for the edge of a mark that is pale on white."""
    return "#" + "".join(f"{int(color[i : i + 2], 16) * 7 // 10:02x}" for i in (1, 3, 5))


MIN_GROUPS = 3
"""Groups of bars that `before_after_bars` has room for: a single one would fill the page."""


def before_after_bars(rows: Sequence[tuple[str, str, float, float]], success: str = "attack success") -> go.Figure:
    """Return paired bars of attack success and clean accuracy: (label, stage or defense, ca, asr), 0..1."""
    figure = go.Figure()
    places = list(range(len(rows)))  # not the labels: Plotly stacks the bars of equal ones
    colors = [find_style(row[1]).color for row in rows]
    for which, word, opacity in ((3, success, 1.0), (2, "clean accuracy", 0.4)):
        figure.add_bar(
            x=places,
            y=[row[which] for row in rows],
            name=word,
            text=[f"{row[which]:.0%}" for row in rows],
            textposition="outside",
            cliponaxis=False,
            marker={
                "color": [fade(color, opacity) for color in colors],
                "line": {"color": colors, "width": 1.5},  # faded bars alone are too pale on both backgrounds
            },
        )
    apply_layout(figure, 330, y_title="Share of test data")
    figure.update_layout(barmode="group", bargap=0.3)
    figure.update_xaxes(tickvals=places, ticktext=[escape_html(row[0]).replace("\n", "<br>") for row in rows])
    figure.update_xaxes(range=[-0.5, max(len(rows), MIN_GROUPS) - 0.5])
    return figure.update_yaxes(range=[0, 1.12], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1])
