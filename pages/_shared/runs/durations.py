"""The expected duration of runs, measured on this machine in the background where it is not known yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add

import streamlit as st

from cleaner.evaluation import result
from cleaner.jobs import local, prediction, spare
from cleaner.runs.request import Request
from pages._shared import cache
from pages._shared.inspect.sample import DataKey
from pages._shared.shell.progress import load_data_with_progress

MEASURING = "duration being measured"
POLL_SECONDS = 1.5
"""Seconds between two looks for the result of a measurement."""


def describe_test(data: DataKey, target_class: str | None, queries: str = "images") -> str:
    """Return what the test data can resolve, as `evaluation.result.describe_test`."""
    return result.describe_test(load_data_with_progress(data, needs_images=False), target_class, queries)


def predict_total(requests: Sequence[Request]) -> prediction.Prediction | None:
    """Return the duration of runs one after the other; None unless all are known."""
    predictions = [prediction.predict(request) for request in requests]
    known = [each for each in predictions if each is not None]
    return reduce(add, known) if known and len(known) == len(predictions) else None


def describe(requests: Sequence[Request]) -> str:
    """Return the duration of runs in words; where it is unknown, have the spare worker measure it once it is free."""
    if (total := predict_total(requests)) is not None:
        return str(total)
    missing = [request for request in requests if prediction.predict(request) is None]
    local.keep_spare()  # first, as it notes that a measurement has killed the last one
    if not missing or not all(map(prediction.is_measurable, missing)):
        return "duration unknown"
    if local.has_active_runs():
        return "duration unknown until the running job ends"
    return MEASURING if spare.measure(missing[0], cache.session_id()) else "duration unknown"


def show(requests: Sequence[Request], draw: Callable[[str], object]) -> None:
    """Call `draw` with the duration of runs in words, again once a measurement has ended."""
    if (duration := describe(requests)) != MEASURING:
        draw(duration)
        return

    @st.fragment(run_every=POLL_SECONDS)
    def watch() -> None:
        text = describe(requests)
        draw(text)
        if text != MEASURING:
            st.rerun()  # stops the polling

    watch()
