"""Plots of docs/ from result files: python -m benchmarks.plots

Uses the figures of the pages and Chromium for the screenshots. Measures nothing.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from benchmarks import learning_rates, protocol
from benchmarks.browser import open_browser
from benchmarks.markdown import detection_tables
from benchmarks.markdown.cells import Row, group_rows
from cleaner.labels import to_attack_label, to_defense_label, to_label
from cleaner.plots.charts import CATEGORY_COLORS, MARKERS
from cleaner.plots.detection import auroc_heatmap
from cleaner.plots.styles import DASHES, STAGE_COLORS, find_style
from cleaner.reports import benchmark, claim, results

ROOT = Path(__file__).resolve().parent.parent
PLOTS_DIR = ROOT / "assets" / "plots"
VIEWPORT = {"width": 1100, "height": 440}
CA_MARGIN = 0.15
"""Clean accuracy below the budget that the plot of rates still shows."""
SHARE_PATTERN = re.compile(r"^ta_cleaner, K ([\d.]+)\s?%")


def main() -> None:
    """Write a PNG for each plot with measurements."""
    PLOTS_DIR.mkdir(parents=True, exist_ok=True)
    figures = plot_claim() | plot_removal() | plot_rates() | plot_budgets() | plot_detection()
    if (results.RESULTS_DIR / "step.json").exists():
        figures["step"] = plot_step_times(json.loads((results.RESULTS_DIR / "step.json").read_text(encoding="utf-8")))
    with open_browser() as browser, tempfile.TemporaryDirectory() as folder:
        page = browser.new_page(viewport=VIEWPORT)
        for name, figure in figures.items():
            file = Path(folder) / f"{name}.html"
            figure.update_layout(template="plotly_white", **VIEWPORT).write_html(file, config={"displayModeBar": False})
            page.goto(file.as_uri())
            page.locator(".main-svg").first.wait_for()
            page.screenshot(path=PLOTS_DIR / f"{name}.png")


def plot_claim() -> dict[str, go.Figure]:
    """Return ASR left against accuracy lost, every method of protocol 2, one panel per attack; one figure per model."""
    records, figures = claim.read_claim_records(), {}
    for model in dict.fromkeys(record.model for record in records):
        figure = claim.plot([record for record in records if record.model == model])
        if figure is not None:
            title = f"{model}: what is left of the attack, and what removing it cost"
            figures[f"claim-{model}"] = figure.update_layout(
                title={"text": title, "y": 0.98}, margin={"t": 130, "l": 70, "b": 60}
            )
    return figures


def plot_removal() -> dict[str, go.Figure]:
    """Return attack success against steps: one attack that is removed, and one that survives."""
    entries = [entry for entry in benchmark.read_benchmark_records() if entry.defense not in protocol.ABLATIONS]
    figures = {}
    for model, attack in (("scenes-rn", "ssba"), ("scenes-rn", "badclip")):
        group = [entry for entry in entries if (entry.model, entry.attack) == (model, attack)]
        defenses = {entry.defense for entry in group if entry.curve and entry.stage == "defended"}
        figure = benchmark.plot_removal(group)
        title = {"text": f"{to_attack_label(attack)} on {model}: attack success while each defense trains", "y": 0.97}
        figure.update_layout(title=title, margin={"t": 70 + 20 * -(-len(defenses) // 4), "l": 70, "b": 60})
        figures[f"removal-{model}-{attack}"] = figure
    return figures


def plot_rates() -> dict[str, go.Figure]:
    """Return accuracy and attack success over the learning rates that were tried, one figure per model.

    Against badnet, seed 0, on validation images; accuracy alone chose the rate.
    """
    path = results.RESULTS_DIR / "learning_rates.json"
    stored = json.loads(path.read_text(encoding="utf-8"))["trials"] if path.exists() else []
    trials = [trial for trial in learning_rates.current_trials(stored) if "asr" in trial]
    figures = {}
    for model in dict.fromkeys(trial["model"] for trial in trials):
        of_model = [trial for trial in trials if trial["model"] == model]
        if sum(len(points) > 1 for points in group_rows(of_model, "defense")) < 2:
            continue  # older trials have no ASR
        figure = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.06)
        for defense in protocol.METHODS:
            style = find_style(defense)
            points = sorted((t for t in of_model if t["defense"] == defense), key=lambda t: float(t["lr"]))
            for row, key in enumerate(("asr", "ca"), start=1):
                figure.add_scatter(
                    x=[t["lr"] for t in points],
                    y=[t[key] for t in points],
                    name=to_defense_label(defense),
                    mode="lines+markers",
                    showlegend=row == 1 and bool(points),
                    row=row,
                    col=1,
                    line={"color": style.color},
                    marker={"symbol": style.mark, "size": 9},
                )
        least = max(trial["backdoored_ca"] for trial in of_model) - protocol.ACCURACY_BUDGET
        figure.add_hline(least, line={"dash": "dot", "color": "grey"}, row=2)
        figure.update_xaxes(type="log", tickvals=protocol.LR_GRID, ticktext=[f"{lr:g}" for lr in protocol.LR_GRID])
        figure.update_xaxes(title="Learning rate", row=2)
        figure.update_yaxes(tickformat=".0%")
        figure.update_yaxes(title="Attack success @1", range=[-0.05, 1.05], row=1)
        # Zoomed in to show the budget of two points; the title lists what is out of view.
        lowest = least - CA_MARGIN
        figure.update_yaxes(title="Clean accuracy", range=[lowest, 1.0], row=2)
        out = " / ".join(dict.fromkeys(to_defense_label(t["defense"]) for t in of_model if t["ca"] < lowest))
        title = f"{to_label('badnet')} on {model}: what each learning rate removes and costs (validation images)"
        title += "<br><sup>Dotted: the least accuracy that the budget allows."
        title += f" Below {lowest:.0%}, out of view: {out}.</sup>" if out else "</sup>"
        figure.update_layout(title=title, showlegend=True)
        figures[f"rates-{model}"] = figure
    return figures


def plot_budgets() -> dict[str, go.Figure]:
    """Return attack success and accuracy against steps and pairs, one figure per model, attack and seed."""
    path = results.RESULTS_DIR / "budget.json"
    if not path.exists():
        return {}
    result = json.loads(path.read_text(encoding="utf-8"))
    return {
        f"budget-{rows[0]['model']}-{rows[0]['trigger']}-{rows[0]['seed']}": plot_budget(rows, result)
        for rows in group_rows(result["rows"], "model", "trigger", "seed")
    }


def plot_budget(rows: list[Row], result: dict[str, Any]) -> go.Figure:
    """Return two columns: varying steps and varying pairs, with the table's value of the other."""
    figure = make_subplots(2, 2, shared_xaxes=True, horizontal_spacing=0.08, vertical_spacing=0.06)
    titles = {
        "steps": f"Training steps ({result['pairs']:,} clean pairs)",
        "pairs": f"Clean pairs ({result['steps']:,} steps)",
    }
    rates = list(dict.fromkeys(row["lr"] for row in rows))
    for column, (name, held) in enumerate((("steps", "pairs"), ("pairs", "steps")), start=1):
        selected = sorted((row for row in rows if row[held] == result[held]), key=lambda row: int(row[name]))
        for curve in (group for group in group_rows(selected, "defense", "lr") if len(group) > 1):
            metrics = [results.parse_row_metrics(row) for row in curve]
            style, j = find_style(curve[0]["defense"]), rates.index(curve[0]["lr"])
            for line, values in enumerate(([(m.asr or {})[1] for m in metrics], [m.ca[1] for m in metrics]), start=1):
                figure.add_scatter(
                    x=[row[name] for row in curve],
                    y=values,
                    showlegend=(column, line) == (1, 1),
                    mode="lines+markers",
                    name=f"{to_defense_label(curve[0]['defense'])}, {rates[j]:g}",
                    row=line,
                    col=column,
                    line={"color": style.color, "dash": DASHES[j]},
                    marker={"symbol": style.mark, "size": 9},
                )
        ticks = sorted({row[name] for row in selected})
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{x:,}" for x in ticks], col=column)
        figure.update_xaxes(title=titles[name], row=2, col=column)
    floor = (results.parse_row_metrics(rows[0]).asr_clean_model or {})[1]
    figure.add_hline(floor, line={"dash": "dot", "color": STAGE_COLORS["floor"]}, row=1)
    figure.update_yaxes(tickformat=".0%").update_yaxes(range=[0, 1.05], row=1)
    figure.update_yaxes(title="Attack success @1", row=1, col=1).update_yaxes(title="Clean accuracy", row=2, col=1)
    title = f"{to_label(rows[0]['trigger'])} on {rows[0]['model']}, with the learning rate; gray: never poisoned"
    legend = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0}
    return figure.update_layout(title={"text": title, "y": 0.97}, legend=legend, margin={"t": 125, "l": 70, "b": 60})


def plot_detection() -> dict[str, go.Figure]:
    """Return the AUROC of each detector on each attack, one heatmap per model; empty without measurements."""
    figures = {}
    for rows in group_rows(detection_tables.read_rows(ROOT), "model"):
        columns, attacks = detection_tables.auroc_columns(rows), group_rows(rows, "trigger")
        kinds = {"pairs": "pairs", "image": "images"}
        figure = auroc_heatmap(
            [to_attack_label(group[0]["trigger"]) for group in attacks],
            [f"{to_label(name)} ({kinds[question]})" for question, name in columns],
            [[detection_tables.mean_auroc(group, *column) for column in columns] for group in attacks],
        )
        model = rows[0]["model"]
        figures[f"detection-{model}"] = figure.update_layout(title=f"{model}: AUROC of detectors, 0.5 is chance")
    return figures


def plot_step_times(result: dict[str, Any]) -> go.Figure:
    """Return times of a step over K, of an epoch's subtexts over pairs, of a classifier over classes."""
    titles = ("A step of TA-Cleaner", "Subtexts of an epoch, K 10%", "A zero-shot classifier")
    figure = make_subplots(1, 3, subplot_titles=titles)
    for i, model in enumerate(result["models"]):
        style = {"line": {"color": CATEGORY_COLORS[i], "dash": DASHES[i]}, "marker": {"symbol": MARKERS[i], "size": 9}}
        shares = [(float(k[1]), row["seconds"]) for row in model["rows"] if (k := SHARE_PATTERN.search(row["method"]))]
        figure.add_scatter(
            x=[k for k, _ in shares], y=[s for _, s in shares], name=model["model"], **style, row=1, col=1
        )
        classes = model["classifier"]
        figure.add_scatter(
            x=[c["classes"] for c in classes],
            y=[c["seconds"] for c in classes],
            showlegend=False,
            **style,
            row=1,
            col=3,
        )
    texts = result["texts_of_an_epoch"]
    figure.add_scatter(
        x=[t["pairs"] for t in texts],
        y=[t["seconds"] for t in texts],
        showlegend=False,
        line={"color": CATEGORY_COLORS[6]},
        marker={"size": 9},
        row=1,
        col=2,
    )
    for column, title in enumerate(("K, % of the pairs", "Clean pairs", "Classes, 4 prompts each"), start=1):
        figure.update_xaxes(title=title, row=1, col=column)
    clock = "processor" if result["clock"] == "processor" else "clock"
    return figure.update_yaxes(rangemode="tozero").update_yaxes(title=f"Seconds ({clock})", row=1, col=1)


if __name__ == "__main__":
    main()
