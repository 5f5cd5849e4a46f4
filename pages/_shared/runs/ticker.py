"""The browser component that draws live curves and polls for new points while its tab is visible."""

import time
from pathlib import Path
from typing import Any

import streamlit as st

from cleaner.plots.component import read_component

SECONDS = 2.0
"""Seconds between an answer of the server and the next poll."""
_FILES = Path(__file__).with_name("live_charts.js"), Path(__file__).with_name("live_charts.css")
_component = st.components.v2.component(
    "live_charts",
    html='<div class="frame"><div class="charts"></div></div>',
    js=read_component(_FILES[0]),
    css=_FILES[1].read_text(encoding="utf-8"),
)


def tick(key: str) -> None:
    """Rerun the fragment that calls this every `SECONDS` while its tab is visible; draws nothing."""
    mount(key, {"layout": "", "charts": [], "runs": []})


def mount(key: str, data: dict[str, Any], *, is_live: bool = True) -> None:
    """Draw the component; if it is live, each poll, with a cursor per run, reruns the fragment around it."""

    def keep_question() -> None:
        values = st.session_state.get(key) or {}  # gone, if the page was drawn without it while the question came
        st.session_state[f"{key}.question"] = values.get("tick")

    # The time makes each answer differ from the one before, so that the browser receives it.
    poll = {"time": time.time(), "milliseconds": 1000 * SECONDS} if is_live else {}
    _component(key=key, data=poll | data, on_tick_change=keep_question)
