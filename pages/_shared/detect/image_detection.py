"""The half of the Detect page on single images: distribution of scores, ROC, thresholds, and one image."""

from typing import Any

import pandas as pd
import streamlit as st

from cleaner.evaluation.detection import FALSE_ALARMS, apply_threshold, conformal_p, describe_calibration, roc_curve
from cleaner.labels import to_label
from cleaner.plots import detection
from cleaner.runs.record import RunRecord
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.inspect import pickers
from pages._shared.inspect.pixels import enlarge
from pages._shared.inspect.plotly_charts import NO_MODE_BAR
from pages._shared.inspect.sample import DataKey
from pages._shared.runs import forms, job_requests
from pages._shared.runs.cancel import is_canceled, show_cancelable
from pages._shared.shell import wording
from pages._shared.shell.state import KEEP, choose_segment
from pages._shared.shell.wording import escape_markdown, format_percent

IMAGE_COUNTS = (100, 200, 500, 1000)
DEFAULT_COUNT = 200
DEFAULT_DETECTOR = "masking"
"""Ranks triggered images above clean ones on more attacks than the others (docs/results.md)."""


def show(run: RunRecord) -> None:
    """Draw the half of the page on single images."""
    if pickers.find_trigger_run(run) is None:
        raise CleanerError(
            "the trigger of this run is unknown, so it cannot be put on test images: choose another run."
        )
    left, right = st.columns([1, 2.9], gap="medium")
    with left:
        detector, n, allowed = _choose_detector()
    with right:
        found = _load(run, detector, n)
        if found is None:
            return
        outcome = apply_threshold(found.calibration, found.clean, found.triggered, allowed)
        st.markdown(f"## {wording.section_title('Test images with and without the trigger', run)}")
        _show_outcome(found, outcome)
        scores, curve = st.columns([1.5, 1])
        groups = {
            "clean": ("clean", found.clean),
            "triggered": ("trigger", found.triggered),
            "clean, other split": ("floor", found.calibration),
        }
        histogram = detection.score_histogram(groups, "images", outcome.threshold)
        scores.plotly_chart(histogram, key="detect.images.scores", config=NO_MODE_BAR)
        roc = detection.roc_curves({to_label(detector.state_dict()["name"]): roc_curve(found.clean, found.triggered)})
        curve.plotly_chart(roc, key="detect.images.roc", config=NO_MODE_BAR)
    with left:
        _show_image(run, detector, outcome.threshold, found.calibration)
    _show_thresholds(found)


def _choose_detector() -> tuple[Any, int, float]:
    """Draw the choice of detector, images and threshold; return them."""
    kinds = cache.detectors("image")
    name = forms.choose_method("Detector", kinds, DEFAULT_DETECTOR, key="detect.images.detector")
    st.caption(escape_markdown(kinds[name].describe()))
    allowed = choose_segment(
        "False alarms allowed",
        FALSE_ALARMS,
        default=FALSE_ALARMS[-1],
        format_func="{:.0%}".format,
        key="detect.images.allowed",
        help="Fixes the threshold on clean images of another split, as a defender would.",
    )
    with st.expander("Parameters"):
        n = st.select_slider("Images", IMAGE_COUNTS, DEFAULT_COUNT, key="detect.images.n", **KEEP)
        detector = forms.draw_form(kinds[name], f"detect.{name}")
    return detector, int(n), allowed


def _load(run: RunRecord, detector: Any, n: int) -> Any:
    """Return the scores of test images, computed if they are not cached; None if that was canceled."""
    test = job_requests.read_test_data(run)
    calibration = DataKey(test.name, "validation", test.size)
    work = ("detect images", str(run.folder), str(detector.state_dict()), str(n))
    if is_canceled(work):
        return None
    with show_cancelable("Scoring test images …", work) as on_step:
        return cache.detect_images(run.folder, detector, test, calibration, n, on_step)


def _show_outcome(found: Any, outcome: Any) -> None:
    """Draw what the detector ranks, and what its threshold does."""
    figures = found.figures
    low, high = figures.interval
    ranked, caught, alarms = st.columns(3)
    ranked.metric("AUROC", f"{figures.auroc:.3f}", help="How often a triggered image scores above a clean one.")
    ranked.caption(f"95% interval {low:.3f} to {high:.3f}; chance 0.5")
    caught.metric("Triggered images flagged", format_percent(outcome.caught))
    caught.caption(f"n = {figures.poisoned:,}, at the threshold")
    alarms.metric("Clean images flagged", format_percent(outcome.false_alarms))
    alarms.caption(f"n = {figures.clean:,}; {outcome.allowed:.0%} were allowed")
    if figures.is_reversed:
        st.markdown("The ranking is reversed: to this detector, triggered images look more typical than clean ones.")


def _show_image(run: RunRecord, detector: Any, threshold: float, calibration: Any) -> None:
    """Draw one image without and with the trigger, and the verdict on each; calibration: scores of clean images."""
    sample = pickers.choose_sample(run)
    pixels = cache.image_pair_pixels(sample, run.folder)
    scores = cache.score_sample(run.folder, detector, sample)
    for column, image, score, label in zip(
        st.columns(2), pixels, scores, ("Without trigger", "With trigger"), strict=True
    ):
        column.image(enlarge(image, 128), width="stretch", alt=f"Chosen image, {label.lower()}")
        verdict = ":violet[◆] **flagged**" if score > threshold else ":blue[○] passes"
        p = conformal_p(calibration, score)
        column.markdown(f":small[{label}]  \n:small[{verdict}, score {score:.3f}, p {p:.3f}]")
    st.caption("p: how often a clean image scores at least as high, by the clean validation images (conformal).")


def _show_thresholds(found: Any) -> None:
    """Draw a table of the thresholds that a defender could fix."""
    rows = [
        {
            "False alarms allowed": f"{outcome.allowed:.0%}",
            "Threshold": f"{outcome.threshold:.4f}",
            "Clean test images flagged": format_percent(outcome.false_alarms),
            "Triggered images flagged": format_percent(outcome.caught),
            "F1": f"{outcome.f1:.3f}",
        }
        for outcome in found.outcomes()
    ]
    st.markdown("**What a threshold fixed on clean images of another split does**")
    st.dataframe(pd.DataFrame(rows), hide_index=True)
    st.caption(
        f"{describe_calibration(len(found.calibration))} A detector can rank well (AUROC) and still catch little: "
        "only triggered scores beyond the tail of the clean ones count. F1: clean and triggered images equally common."
    )
