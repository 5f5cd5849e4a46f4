"""A page that draws the curves of a growing run in one way, for `benchmarks.live_drawing`: ?way=plotly&folder=..."""

import sys
from pathlib import Path

import streamlit as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from cleaner.plots import charts
from cleaner.runs.progress import read_progress
from pages._shared.live_charts import show_live_curves
from pages._shared.ticker import SECONDS

WAY, FOLDER = st.query_params["way"], Path(st.query_params["folder"])


def draw() -> None:
    """Draw loss and validation curves as often as the app does."""
    with (FOLDER / f"{WAY}.updates").open("a") as file:
        file.write(".")
    if WAY == "component":
        show_live_curves({"BadNets": FOLDER}, ["backdoored"], "live")
        return
    reports = read_progress(FOLDER)
    losses = [(report["step"], report["losses"]["total"]) for report in reports]
    measured = [(r["step"], r["metrics"]["ca"], r["metrics"]["asr"]) for r in reports if r["metrics"]]
    left, right = st.columns(2)
    if WAY == "plotly":
        left.plotly_chart(charts.loss_curves({"loss": losses}, ["backdoored"]), key="loss")
        right.plotly_chart(charts.validation_curves({"run": measured}, ["backdoored"]), key="validation")
    elif WAY == "line_chart":
        left.line_chart([{"step": step, "loss": loss} for step, loss in losses], x="step", y="loss")
        shares = [{"step": step, "ca": ca, "asr": asr} for step, ca, asr in measured]
        right.line_chart(shares, x="step", y=["ca", "asr"])
    else:
        st.markdown(f"{len(reports)} reports")


st.header("Drawn")
st.fragment(run_every=None if WAY == "component" else SECONDS)(draw)()
