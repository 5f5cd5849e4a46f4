"""ASR left against the accuracy that each learning rate of a method cost, for protocol 2."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from benchmarks.protocol2.lines import BUDGETS
from benchmarks.protocol2.summary import Cell, by_method
from cleaner.labels import to_attack_label
from cleaner.plots.charts import apply_layout, escape_html
from cleaner.plots.styles import STAGE_COLORS, find_styles


def plot_costs(cells: Sequence[Cell]) -> go.Figure:
    """Return one panel per attack: a line per method, a mark per learning rate, the mean over seeds with its range.

    Dashed: the backdoored model, and the trigger on the clean model. Dotted: the budgets.
    """
    attacks = list(dict.fromkeys(cell.task.attack for cell in cells))
    variants = [of_method[0].variant for of_method in by_method(cell for cell in cells if cell.task.method).values()]
    styles = find_styles(variant.first for variant in variants)
    columns = min(2, len(attacks))
    rows = -(-len(attacks) // columns)
    figure = make_subplots(rows, columns, shared_yaxes=True, subplot_titles=[*map(to_attack_label, attacks)])
    for number, attack in enumerate(attacks):
        place = {"row": number // columns + 1, "col": number % columns + 1}
        of_attack = [cell for cell in cells if cell.task.attack == attack]
        groups = by_method(cell for cell in of_attack if cell.task.method)
        for variant, style in zip(variants, styles, strict=True):
            of_method = groups.get(variant.key, [])
            rates = sorted({cell.task.lr for cell in of_method})
            marks = [[cell for cell in of_method if cell.task.lr == lr] for lr in rates]
            values = [[asr for cell in mark if (asr := cell.metric("asr")) is not None] for mark in marks]
            means = [fmean(value) for value in values]
            figure.add_scatter(
                x=[fmean(cell.loss for cell in mark) for mark in marks],
                y=means,
                mode="lines+markers",
                name=escape_html(variant.label),
                legendgroup=variant.key,
                showlegend=number == 0,
                line={"color": style.color, "dash": style.dash, "width": 2.5},
                marker={"symbol": style.mark, "size": 10},
                error_y={
                    "array": [max(value) - mean for value, mean in zip(values, means, strict=True)],
                    "arrayminus": [mean - min(value) for value, mean in zip(values, means, strict=True)],
                    "thickness": 1,
                    "width": 3,
                },
                **place,
            )
        suspects = [cell for cell in of_attack if not cell.task.method]
        for metric, stage in (("asr", "backdoored"), ("asr_clean_model", "floor")):
            level = fmean(value for cell in suspects if (value := cell.metric(metric)) is not None)
            figure.add_hline(level, line={"dash": "dash", "color": STAGE_COLORS[stage]}, **place)
    for budget in BUDGETS:
        figure.add_vline(budget, line={"dash": "dot", "color": STAGE_COLORS["floor"]})
    apply_layout(figure, 130 + 300 * rows, "Accuracy lost")
    figure.update_xaxes(tickformat="~%")
    figure.update_yaxes(tickformat=".0%", range=[-0.04, 1.04])
    return figure.update_yaxes(title="Attack success @1", col=1)
