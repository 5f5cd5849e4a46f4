"""Training curves, drawn in the browser: loss, validation accuracy and attack success, and the patch of a trigger.

While runs train, the browser keeps the points it has and asks for newer ones; a page that is drawn again, or a browser
without the earlier points, gets all of them.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import streamlit as st

from cleaner.labels import to_label
from cleaner.plots.styles import DASHES, STAGE_COLORS, find_line_styles
from cleaner.runs.progress import read_new_progress
from pages._shared.inspect.pixels import decode_png
from pages._shared.runs.ticker import mount

TAB = "Training curves"
"""Label of the tab with the curves of finished runs."""
CHARTS = (
    ("objective", "Trigger optimization (objective on the clean model; lower is better)", "Objective"),
    ("loss", "Training loss", "Loss"),
    ("validation", "Validation during training", "Share of validation data"),
)
"""Id, title and axis title of each chart."""
SEVERAL_RUNS = " (terms differ between defenses)"
METRIC_LINES = {"asr": ("attack success", "backdoored", "solid"), "ca": ("clean accuracy", "clean", "dot")}
"""Metric -> name, stage with the color, and dash of its line."""
FLOOR = "floor"
"""Name of the line of the attack success on the clean model."""
OPTIMIZE_STAGE = "optimize"
"""Stage of the step reports of a trigger optimization."""
MAX_LOSS_POINTS = 500

History = Sequence[Mapping[str, Any]]
"""Step reports of one run, as dictionaries."""
Points = list[tuple[int, float]]
"""(step, value) of one line."""


def show_curves(
    runs: Mapping[str, Path], kinds: Sequence[str], key: str, *, floor: float | None = None, is_live: bool = False
) -> None:
    """Draw runs, label -> folder; of live ones only new points are sent, and the fragment reruns as with `tick`.

    kinds: stage or defense of each. floor: attack success on the clean model.
    """
    layout = "/".join(folder.name for folder in runs.values())
    question = st.session_state.pop(f"{key}.question", None) or {}
    cursors = question.get("cursors", {}) if question.get("layout") == layout else {}
    is_single = len(runs) == 1
    parts = []
    for (label, folder), look in zip(runs.items(), find_line_styles(kinds), strict=True):
        style = RunStyle(label="" if is_single else label, color=look.color, dash=look.dash, marker=look.mark)
        parts.append(read_new_lines(folder, str(cursors.get(folder.name, "")), style))
    if floor is not None:
        _add_floor(parts, floor)
    charts = [
        {
            "id": name,
            "title": title if is_single or name != "loss" else title + SEVERAL_RUNS,
            "x_title": "Optimization step" if name == "objective" else "Training step",
            "y_title": axis,
            "is_share": name == "validation",
            "has_picture": name == "objective",
        }
        for name, title, axis in CHARTS
    ]
    mount(key, {"layout": layout, "is_single": is_single, "charts": charts, "runs": parts}, is_live=is_live)


@dataclass(frozen=True, kw_only=True)
class RunStyle:
    """How the lines of a run look."""

    label: str
    """Empty for a run on its own, which shows each loss term; several runs show their totals."""
    color: str
    dash: str
    marker: str

    def name(self, word: str) -> str:
        return f"{self.label}: {word}" if self.label else word


def read_new_lines(folder: Path, cursor: str, style: RunStyle) -> dict[str, Any]:
    """Return the points of a run behind `cursor`, by line; with an empty `since` they replace all earlier ones."""
    new = read_new_progress(folder, cursor)
    reports = [report for report in new.reports if report.get("losses")]
    optimized = [report for report in reports if report["stage"] == OPTIMIZE_STAGE]
    trained = [report for report in reports if report["stage"] != OPTIMIZE_STAGE]
    objective = _make_line("objective", "objective", style.name("objective"), loss_points(optimized, "total"), style)
    lines = [objective, *_loss_lines(trained, style), *_validation_lines(trained, style)]
    return {
        "id": folder.name,
        "since": cursor if new.is_continued else "",
        "cursor": new.cursor,
        "lines": [line for line in lines if line["points"]],
        "totals": _read_totals(optimized, ["objective"]) | _read_totals(trained, ["loss", "validation"]),
        "picture": _find_picture(optimized),
    }


def _add_floor(parts: Sequence[dict[str, Any]], floor: float) -> None:
    """Add the attack success on the clean model to the last run that has validation metrics, as a line over all steps.

    It belongs to no run, but the browser draws the lines of runs.
    """
    for part in reversed(parts):
        if any(line["chart"] == "validation" for line in part["lines"]):
            style = RunStyle(label="", color=STAGE_COLORS["floor"], dash="dash", marker="")
            ends = [(0, floor), (part["totals"]["validation"], floor)]
            part["lines"].append(_make_line("validation", "floor", FLOOR, ends, style))
            return


def _loss_lines(reports: History, style: RunStyle) -> list[dict[str, Any]]:
    """Return a line per loss term of a run on its own, if it has several, else one for the total."""
    terms = list(reports[0]["losses"]) if reports else []
    if style.label or len(terms) <= 2:
        return [_make_line("loss", "total", style.label or to_label("total"), loss_points(reports, "total"), style)]
    return [
        _make_line(
            "loss", term, to_label(term), loss_points(reports, term), replace(style, dash=DASHES[i % len(DASHES)])
        )
        for i, term in enumerate(terms)
    ]


def loss_points(history: History, term: str) -> Points:
    """Return (step, loss) of one term, thinned to about `MAX_LOSS_POINTS`."""
    points = [(r["step"], r["losses"][term]) for r in history if term in r["losses"]]
    return points[:: max(1, len(points) // MAX_LOSS_POINTS)]


def _validation_lines(reports: History, style: RunStyle) -> list[dict[str, Any]]:
    """Return attack success and accuracy; of a single run the color tells them apart, of several the dash."""
    lines = []
    for metric, (word, stage, dash) in METRIC_LINES.items():
        points = [(r["step"], v) for r in reports if (v := (r.get("metrics") or {}).get(metric)) is not None]
        look = replace(style, color=style.color if style.label else STAGE_COLORS[stage], dash=dash)
        lines.append(_make_line("validation", metric, style.name(word), points, look) | {"marker": style.marker})
    return lines


def _make_line(chart: str, name: str, label: str, points: Points, style: RunStyle) -> dict[str, Any]:
    """Return a line as the component reads it; JSON has no infinite numbers."""
    finite = [point for point in points if math.isfinite(point[1])]
    return {"id": name, "chart": chart, "name": label, "color": style.color, "dash": style.dash, "points": finite}


def _read_totals(reports: History, charts: Sequence[str]) -> dict[str, int]:
    """Return chart -> the number of steps on its axis."""
    return {chart: int(report["total"]) for report in reports[-1:] for chart in charts}


def _find_picture(reports: History) -> dict[str, str] | None:
    """Return the newest patch of a trigger optimization and its caption."""
    newest = next((report for report in reversed(reports) if report.get("picture")), None)
    if newest is not None:
        with suppress(OSError, ValueError):  # a run from elsewhere may hold anything
            decode_png(newest["picture"])
            return {"png": newest["picture"], "caption": f"Patch after step {newest['step']:,}"}
    return None
