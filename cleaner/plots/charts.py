"""Charts from plain numbers; the only file that imports plotly. Colours have one meaning everywhere.

Okabe-Ito palette (https://jfly.uni-koeln.de/color/), safe for colour-blind readers; shapes and words say it too.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

STAGE_COLORS = {
    "clean": "#0072B2",
    "backdoored": "#D55E00",
    "defended": "#009E73",
    "trigger": "#CC79A7",
    "floor": "#7F8894",
    "suspect": "#E69F00",
}
"""A suspect is a model of which nobody knows whether it is backdoored."""
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
"""For things that are neither a stage nor a trigger: classes, methods."""
LEGEND_ABOVE = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0}
"""Where a legend stands."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
Interval = tuple[float, float]


@dataclass(frozen=True)
class TradeoffPoint:
    """One model in the plane of CA and ASR, 0..1, with 95 % intervals where there are any."""

    label: str
    stage: str
    ca: float
    asr: float
    ca_interval: Interval | None = None
    asr_interval: Interval | None = None
    is_candidate: bool = True
    """Whether it is one to choose; a rebound test only checks one, and no line of best trade-offs goes through it."""
    suspect: str = ""
    """The backdoored model that it is, or was made of: only models of one are a choice."""
    legend_label: str = ""
    """What the legend calls it, and all others of its kind; empty: its label."""
    panel: str = ""
    """The panel in which it stands, with its title."""


def _apply_layout(figure: go.Figure, height: int, x_title: str, y_title: str, show_legend: bool = True) -> go.Figure:
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
    """Return training loss against step, one line for each name; `losses` holds (step, loss)."""
    figure = go.Figure()
    for i, (name, points) in enumerate(losses.items()):
        line = {"color": STAGE_COLORS[stage], "dash": DASHES[i % len(DASHES)], "width": 2}
        figure.add_scatter(x=[p[0] for p in points], y=[p[1] for p in points], mode="lines", name=name, line=line)
    _apply_layout(figure, 270, "Training step", "Loss", show_legend=len(losses) > 1)
    return figure.update_xaxes(range=[0, total] if total else None)


def validation_curves(
    history: Mapping[str, Sequence[tuple[int, float, float | None]]],
    total: int | None = None,
    floor: float | None = None,
) -> go.Figure:
    """Return CA and ASR@1 of the validation split against step; `history` holds (step, ca, asr or None) by name."""
    figure = go.Figure()
    for i, (name, points) in enumerate(history.items()):
        prefix = f"{name}: " if len(history) > 1 else ""
        for which, word, color in ((1, "clean accuracy", "clean"), (2, "attack success", "backdoored")):
            shown = [p for p in points if p[which] is not None]
            if shown:
                figure.add_scatter(
                    x=[p[0] for p in shown],
                    y=[p[which] for p in shown],
                    mode="lines+markers",
                    name=prefix + word,
                    line={"color": STAGE_COLORS[color], "dash": DASHES[i % len(DASHES)], "width": 2},
                    marker={"symbol": MARKERS[i % len(MARKERS)], "size": 7},
                )
    if floor is not None:
        figure.add_hline(y=floor, line={"color": STAGE_COLORS["floor"], "dash": "dot"})
    _apply_layout(figure, 270 + 14 * max(0, len(figure.data) - 2), "Training step", "Share of validation pictures")
    figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%")
    return figure.update_xaxes(range=[0, total] if total else None)


def removal_curves(curves: Mapping[str, Sequence[Sequence[tuple[int, float]]]]) -> go.Figure:
    """Return ASR@1 of validation pictures against step: one line for each defence, the mean over its runs.

    curves: label -> (step, asr) points of each run, looked at after the same steps. With several runs a faint band
    reaches from the lowest to the highest.
    """
    figure = go.Figure()
    for i, (label, runs) in enumerate(curves.items()):
        color = CATEGORY_COLORS[i % len(CATEGORY_COLORS)]
        at: dict[int, list[float]] = {}
        for step, asr in (point for run in runs for point in run):
            at.setdefault(step, []).append(asr)
        steps = sorted(at)
        if len(runs) > 1:
            edge = [max(at[s]) for s in steps] + [min(at[s]) for s in reversed(steps)]
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
            y=[sum(at[s]) / len(at[s]) for s in steps],
            mode="lines+markers",
            name=escape_html(label),
            line={"color": color, "dash": DASHES[i // len(CATEGORY_COLORS)], "width": 2},
            marker={"symbol": MARKERS[i % len(MARKERS)], "size": 8},
            hovertemplate="step %{x}: %{y:.1%}<extra></extra>",
        )
    _apply_layout(figure, 420, "Training step of the defence", "Attack success rate @1, validation pictures")
    return figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%")


def pareto(points: Sequence[TradeoffPoint], floor: float | None = None) -> go.Figure:
    """Return ASR@1 against clean accuracy, in one panel or several with the same axes: down and to the right is better.

    A front joins what nothing beats, for each backdoored model.
    """
    panels, kinds = (
        list(dict.fromkeys(p.panel for p in points)),
        list(dict.fromkeys(p.legend_label or p.label for p in points)),
    )
    columns = max(1, min(3, len(panels)))
    rows = max(1, -(-len(panels) // columns))
    titles = ["<br>".join(map(escape_html, textwrap.wrap(title, 34, break_on_hyphens=False))) for title in panels]
    figure = make_subplots(
        rows,
        columns,
        shared_xaxes="all",
        shared_yaxes="all",
        subplot_titles=titles if len(panels) > 1 else None,
        horizontal_spacing=0.03,
        vertical_spacing=0.22 / rows,
    )
    if floor is not None:
        figure.add_hline(
            y=floor,
            line={"color": STAGE_COLORS["floor"], "dash": "dot"},
            annotation_text="never poisoned model",
            annotation_position="top left",
            annotation_font_color=STAGE_COLORS["floor"],
        )
    named: set[str] = set()
    for number, panel in enumerate(panels):
        place = {"row": number // columns + 1, "col": number % columns + 1}
        own = [p for p in points if p.panel == panel]
        for suspect in dict.fromkeys(p.suspect for p in own):
            front = pareto_front([p for p in own if p.is_candidate and p.suspect == suspect])
            if len(front) > 1:
                figure.add_scatter(
                    x=[p.ca for p in front],
                    y=[p.asr for p in front],
                    mode="lines",
                    name="best trade-offs",
                    line={"color": STAGE_COLORS["floor"], "dash": "dash", "width": 1.5},
                    hoverinfo="skip",
                    legendgroup="front",
                    showlegend="front" not in named,
                    **place,
                )
                named.add("front")
        for p in own:
            kind = p.legend_label or p.label
            figure.add_scatter(
                x=[p.ca],
                y=[p.asr],
                mode="markers",
                name=escape_html(kind),
                legendgroup=kind,
                showlegend=kind not in named,
                **place,
                marker={
                    "symbol": MARKERS[kinds.index(kind) % len(MARKERS)],
                    "size": 13,
                    "color": STAGE_COLORS[p.stage],
                    "line": {"width": 1, "color": "white"},
                },
                error_x=_error_bars(p.ca, p.ca_interval, p.stage),
                error_y=_error_bars(p.asr, p.asr_interval, p.stage),
                hovertemplate=f"{escape_html(p.label)}<br>clean accuracy %{{x:.1%}}<br>attack success %{{y:.1%}}"
                "<extra></extra>",
            )
            named.add(kind)
    height = (120 + 260 * rows if rows > 1 else 380) + 20 * max(0, len(kinds) - 3)  # the legend may need many lines
    _apply_layout(figure, height, "", "")
    if len(panels) > 1:
        lines = max(title.count("<br>") for title in titles[:columns])
        figure.update_layout(legend_y=1 + (0.13 + 0.09 * lines) / rows)  # above the titles
    # Each panel would repeat the words: once for a row or a column is enough.
    figure.update_xaxes(title="Clean accuracy (higher is better)", row=rows)
    figure.update_yaxes(title="Attack success rate @1 (lower is better)", col=1)
    figure.update_xaxes(tickformat="~%")  # accuracies may lie within one point
    return figure.update_yaxes(tickformat=".0%", range=[-0.04, 1.04])


def _error_bars(value: float, interval: Interval | None, stage: str) -> dict[str, object]:
    if interval is None:
        return {"visible": False}
    plus, minus = [interval[1] - value], [value - interval[0]]
    return {
        "type": "data",
        "array": plus,
        "arrayminus": minus,
        "color": STAGE_COLORS[stage],
        "thickness": 1.2,
        "width": 3,
    }


def pareto_front(points: Sequence[TradeoffPoint]) -> list[TradeoffPoint]:
    """Return the points that no other beats in both CA and ASR, by rising CA."""
    kept = [
        p for p in points if not any(o.ca >= p.ca and o.asr <= p.asr and (o.ca, o.asr) != (p.ca, p.asr) for o in points)
    ]
    return sorted(kept, key=lambda p: (p.ca, p.asr))


def similarity_bars(texts: Sequence[str], values: Mapping[str, tuple[str, Sequence[float]]]) -> go.Figure:
    """Return the cosine of one picture with each text, for each model: label -> (stage, one value for each text).

    Texts stand from top to bottom in the order given.
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
    _apply_layout(figure, height, "Similarity of picture and text (cosine)", "")
    short = [_wrap_label(text) for text in texts]
    return figure.update_yaxes(tickvals=rows, ticktext=short, autorange="reversed")


def _hatch(shape: str) -> dict[str, object]:
    """Return light hatching over the full colour, so that colour keeps its meaning."""
    return {"shape": shape, "fillmode": "overlay", "fgcolor": "white", "size": 7, "solidity": 0.25}


def escape_html(text: str) -> str:
    """Return text that plotly shows as it stands; it reads a little HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _wrap_label(text: str, width: int = 34) -> str:
    """Break a text into lines that are shown as they stand."""
    lines = [""]
    for word in escape_html(text).split():
        if len(lines[-1]) + len(word) > width and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(lines[:4])


def before_after_bars(rows: Sequence[tuple[str, str, float, float]]) -> go.Figure:
    """Return paired bars of clean accuracy and attack success; rows are (label, stage, ca, asr), 0..1."""
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
    _apply_layout(figure, 330, "", "Share of test pictures")
    figure.update_layout(barmode="group", bargap=0.3)
    return figure.update_yaxes(range=[0, 1.12], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1])
