"""Load data with a progress bar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from cleaner.types import StepReport
from pages._shared import cache
from pages._shared.sample import DataKey

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData


def load_data_with_progress(key: DataKey) -> CaptionData:
    """Return data with decoded images; show a progress bar while they are rendered the first time."""
    placeholder, is_loading = st.empty(), True

    def on_step(report: StepReport) -> None:
        if not is_loading:  # cached data keep this callback after the page run that drew the bar
            return
        action = "Checking" if report.stage == "check images" else "Rendering"
        text = f"{action} {report.total:,} images (first time only): about {report.eta:.0f} s left"
        placeholder.progress(report.step / max(report.total, 1), text=text)

    with st.spinner("Loading images …"):
        data = cache.load_data(key, on_step)
        data.images([0])
    is_loading = False
    placeholder.empty()
    return data
