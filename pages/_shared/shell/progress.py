"""Progress bars: of data that load, and of features that a model computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import streamlit as st

from cleaner.labels import STAGE_LABELS
from cleaner.types import OnStep, StepReport
from pages._shared import cache
from pages._shared.inspect.sample import DataKey
from pages._shared.runs.jobs import describe_time_left

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from cleaner.data.base import CaptionData


@contextmanager
def show_progress(message: str) -> Iterator[OnStep]:
    """Draw a spinner with a message; yield an `on_step` that draws a bar under it, which vanishes at the end."""
    placeholder, is_active = st.empty(), True

    def on_step(report: StepReport) -> None:
        if is_active:  # cached data keep this callback after the page run
            draw_bar(placeholder, report)

    try:
        with st.spinner(message):
            yield on_step
    finally:
        is_active = False
        placeholder.empty()


def draw_bar(place: DeltaGenerator, report: StepReport) -> None:
    """Draw a bar with the progress of a stage that has a label."""
    if report.stage in STAGE_LABELS:
        text = f"{STAGE_LABELS[report.stage]}, {report.step:,} of {report.total:,}{describe_time_left(report)}"
        place.progress(report.step / max(report.total, 1), text=text)


def load_data_with_progress(key: DataKey, *, needs_images: bool = True) -> CaptionData:
    """Return data; show a progress bar while files are checked and, if needed, images rendered the first time."""
    with show_progress("Loading images, first time only …") as on_step:
        data = cache.load_data(key, on_step)
        if needs_images:
            data.images([0])
    return data
