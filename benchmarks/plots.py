"""Plots of docs/ from result files: python -m benchmarks.plots

Uses the figures of the pages and Chromium for the screenshots. Measures nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from benchmarks.browser import open_browser
from benchmarks.json_lines import read_json_lines
from benchmarks.markdown import detection_tables
from benchmarks.markdown.cells import group_rows, read_measurement
from benchmarks.protocol2 import plan, summary
from benchmarks.protocol2.chart import plot_costs
from benchmarks.protocol2.records import results_path
from cleaner.labels import to_attack_label, to_label
from cleaner.plots.charts import CATEGORY_COLORS, MARKERS, apply_layout, escape_html

ROOT = Path(__file__).resolve().parent.parent
PLOTS_DIR = ROOT / "assets" / "plots"
VIEWPORT = {"width": 1100, "height": 440}


def main() -> None:
    """Write a PNG for each plot."""
    PLOTS_DIR.mkdir(parents=True, exist_ok=True)
    figures = plot_claim() | plot_detection() | plot_growth()
    with open_browser() as browser, tempfile.TemporaryDirectory() as folder:
        page = browser.new_page(viewport=VIEWPORT)
        for name, figure in figures.items():
            file = Path(folder) / f"{name}.html"
            figure.update_layout(template="plotly_white", **VIEWPORT).write_html(file, config={"displayModeBar": False})
            page.goto(file.as_uri())
            page.locator(".main-svg").first.wait_for()
            page.screenshot(path=PLOTS_DIR / f"{name}.png")


def plot_claim() -> dict[str, go.Figure]:
    """Return ASR left against accuracy lost, every method of protocol 2 on the first target; one figure per model."""
    figures = {}
    for model in plan.MODELS:
        rows = read_json_lines(results_path(model))
        decided = summary.decide(model, rows)
        if decided is not None:
            targets, cells = decided[0].targets, summary.select_cells(rows)
            shown = [cell for attack in plan.JUDGES for cell in summary.main_cells(cells, attack, targets[0])]
            title = f"{model}: what is left of the attack, and what removing it cost"
            figures[f"claim-{model}"] = plot_costs(shown).update_layout(
                title={"text": title, "y": 0.98}, margin={"t": 130, "l": 70, "b": 60}
            )
    return figures


def plot_detection() -> dict[str, go.Figure]:
    """Return the AUROC of each detector on each attack, one heatmap per model."""
    figures = {}
    for rows in group_rows(detection_tables.read_rows(ROOT), "model"):
        columns, attacks = detection_tables.auroc_columns(rows), group_rows(rows, "trigger")
        kinds = {"pairs": "pairs", "image": "images"}
        figure = draw_heatmap(
            [to_attack_label(group[0]["trigger"]) for group in attacks],
            [f"{to_label(name)} ({kinds[question]})" for question, name in columns],
            [[detection_tables.mean_auroc(group, *column) for column in columns] for group in attacks],
        )
        model = rows[0]["model"]
        figures[f"detection-{model}"] = figure.update_layout(title=f"{model}: AUROC of detectors, 0.5 is chance")
    return figures


def plot_growth() -> dict[str, go.Figure]:
    """Return the seconds of each operation against pairs and against classes, on logarithmic axes."""
    result = read_measurement(ROOT, "growth.json")
    axes, operations = list(result["fixed"]), list(dict.fromkeys(row["operation"] for row in result["rows"]))
    figure = make_subplots(1, len(axes), shared_yaxes=True, horizontal_spacing=0.05)
    for row in result["rows"]:
        column = axes.index(row["axis"])
        place = operations.index(row["operation"])
        line = go.Scatter(
            x=[point["size"] for point in row["points"]],
            y=[point["seconds"] for point in row["points"]],
            name=row["operation"],
            showlegend=column == 0,
            line={"color": CATEGORY_COLORS[place]},
            marker={"symbol": MARKERS[place], "size": 9},
        )
        figure.add_trace(line, row=1, col=column + 1)
    apply_layout(figure, VIEWPORT["height"])
    figure.update_xaxes(type="log").update_yaxes(type="log").update_yaxes(title="seconds", row=1, col=1)
    for column, axis in enumerate(axes, start=1):
        figure.update_xaxes(title=axis, row=1, col=column)
    return {"growth": figure.update_layout(title=f"{result['model']}: seconds of each operation", margin={"t": 80})}


def draw_heatmap(rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]]) -> go.Figure:
    """Return AUROC of detectors (columns) on attacks (rows), 0..1; None stays empty. The palette suits all readers."""
    figure = go.Figure(
        go.Heatmap(
            x=[escape_html(name) for name in columns],
            y=[escape_html(name) for name in rows],
            z=values,
            text=[["" if value is None else f"{value:.2f}" for value in row] for row in values],
            texttemplate="%{text}",
            zmin=0,
            zmid=0.5,
            zmax=1,
            colorscale="RdBu_r",
            colorbar={"title": "AUROC"},
            hovertemplate="%{y}, %{x}: %{z:.3f}<extra></extra>",
        )
    )
    apply_layout(figure, 90 + 44 * len(rows), show_legend=False)
    return figure.update_yaxes(autorange="reversed")


if __name__ == "__main__":
    main()
