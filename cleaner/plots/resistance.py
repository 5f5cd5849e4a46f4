"""Chart of trigger inversion: how strongly each class resists."""

import statistics
from collections.abc import Mapping

import plotly.graph_objects as go

from cleaner.plots.charts import GRAY, apply_layout, escape_html
from cleaner.plots.styles import STAGE_COLORS

MAX_BARS = 40
"""Most classes in the chart: those that give way most easily."""


def resistance_bars(classes: Mapping[str, float], suspect: str | None, target_class: str | None = None) -> go.Figure:
    """Return a bar per class, lowest first, and the median; suspect and target of a known attack stand out."""
    names = sorted(classes, key=classes.__getitem__)[:MAX_BARS]
    values = [classes[name] for name in names]
    median = statistics.median(classes.values())
    figure = go.Figure()
    figure.add_bar(
        x=list(range(len(names))),
        y=values,
        customdata=[
            [escape_html(name), value / median if median else 0.0] for name, value in zip(names, values, strict=True)
        ],
        marker={"color": [STAGE_COLORS["trigger"] if name == suspect else STAGE_COLORS["clean"] for name in names]},
        hovertemplate="%{customdata[0]}: %{y:.2%}, %{customdata[1]:.2f} of the median<extra></extra>",
    )
    figure.add_hline(
        y=median, line={"color": GRAY, "dash": "dash"}, annotation_text="median", annotation_position="top left"
    )
    ticks = [f"<b>{escape_html(name)}</b>" if name == target_class else escape_html(name) for name in names]
    apply_layout(figure, 300, "", "Perturbation needed (RMS)", show_legend=False)
    figure.update_xaxes(tickvals=list(range(len(names))), ticktext=ticks, tickangle=-45)
    return figure.update_yaxes(tickformat=".1%", rangemode="tozero")
