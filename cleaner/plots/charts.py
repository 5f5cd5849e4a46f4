"""Charts of plain numbers, training curves and bars; colors and layout of all charts.

A color has one meaning in all charts. Okabe-Ito palette (https://jfly.uni-koeln.de/color/), safe for color-blind
readers; shapes and words repeat what a color says.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

STAGE_COLORS = {
    "clean": "#0072B2",
    "backdoored": "#D55E00",
    "defended": "#009E73",
    "trigger": "#CC79A7",
    "floor": "#7F8894",
    "suspect": "#E69F00",
}
"""Stage -> color. A suspect is a model that may or may not be backdoored."""
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
CATEGORY_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#B3A100")
"""Colors of things that are neither a stage nor a trigger: classes, methods."""
LEGEND_ABOVE = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0}
"""Position of a legend above the plot."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def apply_layout(
    figure: go.Figure, height: int, x_title: str = "", y_title: str = "", *, show_legend: bool = True
) -> go.Figure:
    """Set the height, axis titles and the common margins; zooms survive a redraw."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 36, "b": 8},
        showlegend=show_legend,
        hovermode="closest",
        legend=LEGEND_ABOVE,
        uirevision="keep",
    )
    figure.update_xaxes(title=x_title, zeroline=False, automargin=True)
    figure.update_yaxes(title=y_title, zeroline=False, automargin=True)
    return figure


def loss_curves(losses: Mapping[str, Sequence[tuple[int, float]]], stage: str, total: int | None = None) -> go.Figure:
    """Return training loss against step: name -> (step, loss), one line per name."""
    figure = go.Figure()
    for i, (name, points) in enumerate(losses.items()):
        line = {"color": STAGE_COLORS[stage], "dash": DASHES[i % len(DASHES)], "width": 2}
        figure.add_scatter(x=[p[0] for p in points], y=[p[1] for p in points], mode="lines", name=name, line=line)
    apply_layout(figure, 270, "Training step", "Loss", show_legend=len(losses) > 1)
    return figure.update_xaxes(range=[0, total] if total else None)


def validation_curves(
    history: Mapping[str, Sequence[tuple[int, float, float | None]]],
    total: int | None = None,
    floor: float | None = None,
) -> go.Figure:
    """Return CA and ASR@1 of the validation split against step: name -> (step, ca, asr or None)."""
    figure = go.Figure()
    for i, (name, points) in enumerate(history.items()):
        prefix = f"{name}: " if len(history) > 1 else ""
        for which, word, color in ((1, "clean accuracy", "clean"), (2, "attack success", "backdoored")):
            measured = [p for p in points if p[which] is not None]
            if measured:
                figure.add_scatter(
                    x=[p[0] for p in measured],
                    y=[p[which] for p in measured],
                    mode="lines+markers",
                    name=prefix + word,
                    line={"color": STAGE_COLORS[color], "dash": DASHES[i % len(DASHES)], "width": 2},
                    marker={"symbol": MARKERS[i % len(MARKERS)], "size": 7},
                )
    if floor is not None:
        figure.add_hline(y=floor, line={"color": STAGE_COLORS["floor"], "dash": "dot"})
    apply_layout(figure, 270 + 14 * max(0, len(figure.data) - 2), "Training step", "Share of validation images")
    figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%")
    return figure.update_xaxes(range=[0, total] if total else None)


def removal_curves(curves: Mapping[str, Sequence[Sequence[tuple[int, float]]]]) -> go.Figure:
    """Return ASR@1 of validation images against step: one line per defense, the mean over its runs.

    curves: label -> (step, asr) of each run, evaluated at the same steps. Several runs add a faint band from the
    lowest to the highest value.
    """
    figure = go.Figure()
    for i, (label, runs) in enumerate(curves.items()):
        color = CATEGORY_COLORS[i % len(CATEGORY_COLORS)]
        values: dict[int, list[float]] = {}
        for step, asr in (point for run in runs for point in run):
            values.setdefault(step, []).append(asr)
        steps = sorted(values)
        if len(runs) > 1:
            edge = [max(values[s]) for s in steps] + [min(values[s]) for s in reversed(steps)]
            figure.add_scatter(
                x=[*steps, *reversed(steps)],
                y=edge,
                fill="toself",
                mode="none",
                fillcolor=color,
                opacity=0.15,
                hoverinfo="skip",
                showlegend=False,
            )
        figure.add_scatter(
            x=steps,
            y=[sum(values[s]) / len(values[s]) for s in steps],
            mode="lines+markers",
            name=escape_html(label),
            line={"color": color, "dash": DASHES[i // len(CATEGORY_COLORS)], "width": 2},
            marker={"symbol": MARKERS[i % len(MARKERS)], "size": 8},
            hovertemplate="step %{x}: %{y:.1%}<extra></extra>",
        )
    apply_layout(figure, 420, "Training step of the defense", "Attack success rate @1, validation images")
    return figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%")


def similarity_bars(texts: Sequence[str], values: Mapping[str, tuple[str, Sequence[float]]]) -> go.Figure:
    """Return bars of the cosine of one image with each text: label -> (stage, one value per text).

    Texts go from top to bottom.
    """
    figure = go.Figure()
    rows = list(range(len(texts)))
    shapes = ("", "/", ".", "x", "-", "+")
    for i, (label, (stage, cosines)) in enumerate(values.items()):
        figure.add_bar(
            y=rows,
            x=list(cosines),
            orientation="h",
            name=label,
            text=[f"{c:.2f}" for c in cosines],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{x:.3f}<extra>" + label + "</extra>",
            marker={"color": STAGE_COLORS[stage], "pattern": _hatch(shapes[i % 6 if i > 2 else 0])},
        )
    figure.update_layout(barmode="group", bargap=0.28, bargroupgap=0.05)
    height = 90 + len(texts) * (22 + 19 * len(values))
    apply_layout(figure, height, "Similarity of image and text (cosine)")
    ticks = [wrap_label(text, 35, max_lines=4) for text in texts]
    return figure.update_yaxes(tickvals=rows, ticktext=ticks, autorange="reversed")


def _hatch(shape: str) -> dict[str, object]:
    """Return light hatching; the color below keeps its meaning."""
    return {"shape": shape, "fillmode": "overlay", "fgcolor": "white", "size": 7, "solidity": 0.25}


def escape_html(text: str) -> str:
    """Return text that plotly shows literally; plotly interprets some HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def wrap_label(text: str, width: int, max_lines: int | None = None) -> str:
    """Return a text in lines of at most `width` characters, shown literally; further lines are cut."""
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return "<br>".join(map(escape_html, lines[:max_lines]))


def before_after_bars(rows: Sequence[tuple[str, str, float, float]]) -> go.Figure:
    """Return paired bars of clean accuracy and attack success; rows: (label, stage, ca, asr), 0..1."""
    figure = go.Figure()
    labels = [row[0] for row in rows]
    for which, word, shape in ((2, "clean accuracy", ""), (3, "attack success rate", "/")):
        figure.add_bar(
            x=labels,
            y=[row[which] for row in rows],
            name=word,
            text=[f"{row[which]:.0%}" for row in rows],
            textposition="outside",
            cliponaxis=False,
            marker={"color": [STAGE_COLORS[row[1]] for row in rows], "pattern": _hatch(shape)},
        )
    apply_layout(figure, 330, y_title="Share of test images")
    figure.update_layout(barmode="group", bargap=0.3)
    return figure.update_yaxes(range=[0, 1.12], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1])
