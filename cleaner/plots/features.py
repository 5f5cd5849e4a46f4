"""Charts of features: embedding maps, and histograms of shifts and margins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from cleaner.plots.charts import (
    CATEGORY_COLORS,
    GRAY,
    LEGEND_ABOVE,
    MARKERS,
    apply_layout,
    darken,
    escape_html,
    keep_view,
)
from cleaner.plots.styles import DASHES, find_style

Array = NDArray[np.float32]
LAST_IN_LEGEND = 1001
MAX_ENTRIES_ABOVE = 8
"""Most groups for which the legend goes above a map, in one or two lines; else to its right."""


@dataclass(frozen=True)
class PointGroup:
    """Points of one color: coordinates (N, 2), an id and a line of text for each."""

    name: str
    color: str
    symbol: str
    coordinates: Array
    ids: Sequence[str]
    texts: Sequence[str]
    is_faint: bool = False

    @property
    def edge(self) -> str:
        """Color of the edge of a point."""
        return darken(self.color)


def class_style(index: int) -> tuple[str, str]:
    """Return color and symbol of a class: first the seven colors vary, then the symbols."""
    return CATEGORY_COLORS[index % len(CATEGORY_COLORS)], MARKERS[index // len(CATEGORY_COLORS) % len(MARKERS)]


def embedding_map(
    groups: Sequence[PointGroup],
    axes: tuple[str, str],
    *,
    arrows: tuple[Array, Array] | None = None,
    marked: Array | None = None,
    marked_name: str = "your selection",
    bounds: tuple[Array, Array] | None = None,
) -> go.Figure:
    """Return points in the plane.

    axes: titles; arrows: coordinates before and after (N, 2), drawn as one trace; marked: coordinates to ring, which
    the legend calls `marked_name`; bounds: lower and upper corner of the axes, so they stay the same when other points
    are shown.
    """
    figure = go.Figure()
    head = 0.012 * float((bounds[1] - bounds[0]).max()) if bounds is not None else np.inf
    if arrows is not None and len(arrows[0]):
        figure.add_trace(_arrows(*arrows, head))
    if marked is not None and len(marked):
        figure.add_scattergl(
            x=marked[:, 0],
            y=marked[:, 1],
            mode="markers",
            name=marked_name,
            hoverinfo="skip",
            legendrank=LAST_IN_LEGEND,
            marker={
                "symbol": "circle-open",
                "size": 14,
                "color": GRAY,
                "line": {"width": 2 if len(marked) < 50 else 1},
                "opacity": 1 if len(marked) < 50 else 0.7,
            },
        )
    for group in groups:  # after the rings, which would cover them
        _add_group(figure, group)
    keep_view(figure)
    figure.update_layout(
        height=600,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        dragmode="lasso",
        hovermode="closest",
        modebar={"orientation": "v"},
        legend={"itemsizing": "constant"} | (LEGEND_ABOVE if len(groups) <= MAX_ENTRIES_ABOVE else {}),
    )
    figure.update_xaxes(title=axes[0], zeroline=False, showticklabels=False)
    figure.update_yaxes(title=axes[1], zeroline=False, showticklabels=False, scaleanchor="x")
    if bounds is not None:
        margin = 0.05 * (bounds[1] - bounds[0]).max()
        low, high = (bounds[0] - margin).tolist(), (bounds[1] + margin).tolist()
        figure.update_xaxes(range=[low[0], high[0]])
        figure.update_yaxes(range=[low[1], high[1]])
    return figure


def _add_group(figure: go.Figure, group: PointGroup) -> None:
    figure.add_scattergl(
        x=group.coordinates[:, 0],
        y=group.coordinates[:, 1],
        mode="markers",
        name=escape_html(group.name),
        customdata=list(group.ids),
        text=[escape_html(text) for text in group.texts],
        hovertemplate="%{text}<extra></extra>",
        marker={
            "color": group.color,
            "symbol": group.symbol,
            "size": 7 if group.symbol != "star" else 11,
            "opacity": 0.35 if group.is_faint else 0.85,
            "line": {"width": 1, "color": group.edge},
        },
    )


def _arrows(before: Array, after: Array, head: float) -> go.Scatter:
    """Return all arrows as one line with gaps: the shaft, then the two strokes of its head, at most `head` long.

    The strokes assume equal scales of x and y. One path of thousands of arrows is cheap for a browser; as markers of a
    WebGL trace they block it for seconds.
    """
    along = after - before
    length = np.linalg.norm(along, axis=1, keepdims=True)
    unit = along / np.maximum(length, 1e-12)
    stroke = np.minimum(head, length / 2) * unit
    across = 0.5 * stroke[:, ::-1] * np.array([1, -1], np.float32)
    gap = np.full_like(after, np.nan)
    parts = [before, after, gap, after - stroke + across, after, after - stroke - across, gap]
    line = np.stack(parts, 1).reshape(-1, 2)
    return go.Scatter(
        x=line[:, 0],
        y=line[:, 1],
        mode="lines",
        name="moved",
        hoverinfo="skip",
        line={"color": GRAY, "width": 0.8},
        opacity=0.6,
    )


def shift_histogram(shifts: Mapping[str, tuple[str, Sequence[float]]]) -> go.Figure:
    """Return how far items moved: label -> (color, 1 - cosine of before and after, per item)."""
    largest = max((v for _, values in shifts.values() for v in values), default=1.0)
    figure = histogram(shifts, (0, largest or 1.0), "Shift of the features (1 − cosine)", "points")
    return figure.update_traces(fill="tozeroy")


def margin_histogram(margins: Mapping[str, tuple[str, Sequence[float]]]) -> go.Figure:
    """Return margins of true over false subtexts: label -> (stage or defense, margin per pair)."""
    colored = {label: (find_style(kind).color, values) for label, (kind, values) in margins.items()}
    largest = max((abs(v) for _, values in margins.values() for v in values), default=1.0)
    figure = histogram(colored, (-largest, largest), "Margin: cosine of the true text − best false text", "pairs")
    return figure.add_vline(x=0, line={"color": GRAY, "dash": "dot"})


def histogram(
    columns: Mapping[str, tuple[str, Sequence[float]]], value_range: tuple[float, float], axis_title: str, unit: str
) -> go.Figure:
    """Return one outline of 40 columns per entry: label -> (color, values)."""
    figure = go.Figure()
    for (label, (color, values)), dash in zip(columns.items(), DASHES, strict=False):
        counts, edges = np.histogram(values, bins=40, range=value_range)
        # An empty bin at either end: the line starts and ends at the center of a bin.
        edges, counts = np.pad(edges, 1, "reflect", reflect_type="odd"), np.pad(counts, 1)
        figure.add_scatter(
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts / max(len(values), 1),
            text=[f"{low:.3f} to {high:.3f}" for low, high in pairwise(edges)],
            mode="lines",
            name=f"{escape_html(label)} (n = {len(values):,})",
            line={"shape": "hvh", "color": color, "width": 2, "dash": dash},
            hovertemplate="%{text}: %{y:.1%}<extra></extra>",
        )
    apply_layout(figure, 280, axis_title, f"Share of {unit}", show_legend=len(columns) > 1)
    return figure.update_yaxes(tickformat="~%")
