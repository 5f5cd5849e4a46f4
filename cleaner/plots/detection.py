"""Charts of detectors: distributions of scores, ROC curves, AUROC against the reference."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from cleaner.plots.charts import CATEGORY_COLORS, GRAY, MARKERS, apply_layout, escape_html
from cleaner.plots.features import histogram
from cleaner.plots.styles import DASHES, STAGE_COLORS

Scores = NDArray[np.float32]
CURVE_HEIGHT = 300
HEADROOM = 1.25
"""Height of a histogram over its highest column: room for the name of the threshold."""
OUTLIER_SHARE = 0.5
"""Percent of a group's scores at either end that a histogram may cut off: single outliers would squeeze the rest.

Of each group, not of all scores: else a group of rare pairs could be cut off as a whole.
"""


def score_histogram(groups: Mapping[str, tuple[str, Scores]], unit: str, threshold: float | None = None) -> go.Figure:
    """Return the distribution of scores: label -> (`STAGE_COLORS` key, scores); unit: what has one, plural."""
    ends = [np.percentile(scores, [OUTLIER_SHARE, 100 - OUTLIER_SHARE]) for _, scores in groups.values() if len(scores)]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    span = (float(low), float(high if high > low else low + 1))
    colored = {  # in float64: float32 would round the bounds, some of them out of the range that is counted
        label: (STAGE_COLORS[color], np.clip(scores.astype(np.float64), *span).tolist())
        for label, (color, scores) in groups.items()
    }
    figure = histogram(colored, span, "Score (higher is more suspicious)", unit)
    if threshold is not None:
        figure.add_vline(
            x=min(max(threshold, span[0]), span[1]),
            line={"color": GRAY, "dash": "dash"},
            annotation_text="flagged →",
            annotation_position="top right",
        )
        highest = max(float(trace.y.max()) for trace in figure.data)
        figure.update_yaxes(range=[0, highest * HEADROOM])
    return figure


def roc_curves(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> go.Figure:
    """Return caught share against false alarms: label -> (false alarms, caught); the diagonal is chance."""
    figure = go.Figure()
    for i, (label, (alarms, caught)) in enumerate(curves.items()):
        figure.add_scatter(
            x=list(alarms),
            y=list(caught),
            mode="lines",
            name=escape_html(label),
            line={
                "color": CATEGORY_COLORS[i % len(CATEGORY_COLORS)],
                "dash": DASHES[i % len(DASHES)],
                "width": 2,
            },
            hovertemplate="false alarms %{x:.1%}, caught %{y:.1%}<extra></extra>",
        )
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", name="chance", line={"color": GRAY, "dash": "dot"}, hoverinfo="skip"
    )
    apply_layout(figure, CURVE_HEIGHT, "False alarms", "Caught")
    figure.update_xaxes(tickformat=".0%", range=[-0.02, 1.02])
    return figure.update_yaxes(tickformat=".0%", range=[-0.02, 1.02])


def reference_curves(curves: Mapping[str, Sequence[tuple[int, float]]]) -> go.Figure:
    """Return AUROC against the size of the reference: label -> (size, auroc); a dotted line is chance."""
    figure = go.Figure()
    for i, (label, points) in enumerate(curves.items()):
        figure.add_scatter(
            x=[size for size, _ in points],
            y=[auroc for _, auroc in points],
            mode="lines+markers",
            name=escape_html(label),
            line={"color": CATEGORY_COLORS[i % len(CATEGORY_COLORS)], "width": 2},
            marker={"symbol": MARKERS[i % len(MARKERS)], "size": 8},
            hovertemplate="%{x} reference pairs: %{y:.3f}<extra></extra>",
        )
    figure.add_hline(y=0.5, line={"color": GRAY, "dash": "dot"}, annotation_text="chance")
    apply_layout(figure, CURVE_HEIGHT, "Reference pairs", "AUROC")
    sizes = sorted({size for points in curves.values() for size, _ in points})
    figure.update_xaxes(type="log", tickvals=sizes, ticktext=[f"{size:,}" for size in sizes])
    return figure.update_yaxes(range=[-0.02, 1.02])
