"""Training curves: loss, validation accuracy and attack success, and the optimization of a trigger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import streamlit as st

from cleaner.labels import to_label
from cleaner.plots import charts
from pages._shared.inspect.pixels import decode_png
from pages._shared.inspect.plotly_charts import NO_MODE_BAR

OPTIMIZE_STAGE = "optimize"
"""Stage of the step reports of a trigger optimization."""
MAX_LOSS_POINTS = 500
TAB = "Training curves"
"""Label of the tab with the curves."""

History = Sequence[Mapping[str, Any]]
"""Step reports of one run, as dictionaries."""
Points = list[tuple[int, float]]
"""(step, value) of one line."""


def show_curves(
    histories: Mapping[str, History],
    kinds: Mapping[str, str],
    key: str,
    floor: float | None = None,
) -> None:
    """Draw loss, and validation CA and ASR, of finished runs; kinds: stage or defense of each."""
    for name, history in histories.items():
        reports = [r for r in history if r["stage"] == OPTIMIZE_STAGE]
        show_trigger_optimization(reports, f"{key}.{name}.optimize")
    histories = {name: [r for r in history if r["stage"] != OPTIMIZE_STAGE] for name, history in histories.items()}
    if not any(histories.values()):
        return
    evaluations = {
        name: [(r["step"], r["metrics"]["ca"], r["metrics"].get("asr")) for r in history if "ca" in r["metrics"]]
        for name, history in histories.items()
    }
    is_single = len(histories) == 1
    left, right = st.columns(2) if is_single else (st.container(), st.container())
    with left:
        st.markdown("**Training loss**" if is_single else "**Training loss** (terms differ between defenses)")
        losses = _read_losses(histories)
        chart = charts.loss_curves(losses, [kinds.get(name, next(iter(kinds.values()))) for name in losses])
        st.plotly_chart(chart, key=f"{key}.loss", config=NO_MODE_BAR)
    if not any(evaluations.values()):
        return
    with right:
        st.markdown("**Validation during training**")
        chart = charts.validation_curves(evaluations, [kinds[name] for name in evaluations], floor)
        st.plotly_chart(chart, key=f"{key}.validation", config=NO_MODE_BAR)
        if floor is not None:
            st.caption("Gray dotted line: attack success on the clean model.")


def show_trigger_optimization(history: History, key: str) -> None:
    """Draw the objective of a trigger optimization and the current patch."""
    if not history:
        return
    patch = next((r["picture"] for r in reversed(history) if r.get("picture")), "")
    left, right = st.columns([3, 1])
    with left:
        st.markdown("**Trigger optimization** (objective on the clean model; lower is better)")
        points = {"objective": loss_points(history, "total")}
        titles = ("Optimization step", "Objective")
        chart = charts.loss_curves(points, ["backdoored"], history[-1]["total"], titles=titles)
        st.plotly_chart(chart, key=key, config=NO_MODE_BAR)
    if not patch:
        return
    with suppress(OSError, ValueError):  # a run from elsewhere may hold anything
        caption = f"Patch after step {history[-1]['step']:,}"
        right.image(decode_png(patch), caption=caption, width="stretch", alt="Optimized trigger patch")


def _read_losses(histories: Mapping[str, History]) -> dict[str, Points]:
    """Return label -> points: the terms of a single run, if it has several, else the total of each run."""
    if len(histories) == 1:
        (history,) = histories.values()
        terms = [term for report in history[:1] for term in report["losses"]]
        if len(terms) > 2:
            return {to_label(term): loss_points(history, term) for term in terms}
    return {name: loss_points(history, "total") for name, history in histories.items()}


def loss_points(history: History, term: str) -> Points:
    """Return (step, loss) of one term, thinned to about `MAX_LOSS_POINTS`."""
    points = [(r["step"], r["losses"][term]) for r in history if term in r["losses"]]
    return points[:: max(1, len(points) // MAX_LOSS_POINTS)]
