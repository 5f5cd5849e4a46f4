"""Detect: which training pairs are poisoned, and does an image carry a trigger?"""

from __future__ import annotations

import streamlit as st

from cleaner.reports.comparability import has_failed_attack
from pages._shared import cache, image_detection, pair_detection, state
from pages._shared.frame import link, page
from pages._shared.state import KEEP

LEAD = "**Find the poison without knowing the trigger**: in the training pairs, or in a single image."
QUESTIONS = {
    "pairs": "Which training pairs are poisoned?",
    "image": "Does this image carry a trigger?",
}


def choose_question() -> str:
    """Draw the choice of the question; return its key."""
    question = st.segmented_control(
        "Question",
        list(QUESTIONS),
        required=True,
        default="pairs",
        format_func=QUESTIONS.__getitem__,
        key="detect.question",
        label_visibility="collapsed",
        **KEEP,
    )
    return str(question)


with page("Detect", LEAD):
    run = state.current_run()
    if run is None:
        st.info(
            "The model in view has no known attack, so nothing tells right from wrong: choose a backdoored run under "
            "“In view”.",
            icon=":material/bug_report:",
        )
        link("Poison", "Train a backdoored model")
    else:
        question = choose_question()
        if has_failed_attack(run):
            st.warning("The attack failed: little tells triggered images from others.", icon=":material/warning:")
        if question == "pairs":
            pair_detection.show(run)
        else:
            with st.spinner("Loading PyTorch …"):
                cache.detectors("image")
            image_detection.show(run)
