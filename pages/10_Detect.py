"""Detect: which training pairs are poisoned, and does an image carry a trigger?"""

import streamlit as st

from cleaner.runs.store import has_failed_attack
from pages._shared import cache
from pages._shared.detect import image_detection, pair_detection
from pages._shared.shell import state
from pages._shared.shell.frame import link, page

LEAD = "**Find the poison without knowing the trigger**: in the training pairs, or in a single image."
QUESTIONS = {
    "pairs": "Which training pairs are poisoned?",
    "image": "Does this image carry a trigger?",
}


with page("Detect", LEAD, picture=":is(.st-key-detect-gallery, .st-key-detect-images-scores)"):
    run = state.current_run()
    if run is None:
        st.info(
            "The model in view has no known attack, so detections cannot be checked: choose a backdoored run under “In "
            "view”.",
            icon=":material/bug_report:",
        )
        link("Poison", "Train a backdoored model")
    else:
        question = state.choose_segment("Question", QUESTIONS, key="detect.question", is_label_hidden=True)
        if has_failed_attack(run):
            st.warning(
                "The attack failed: to the model, triggered images hardly differ from others.",
                icon=":material/warning:",
            )
        if question == "pairs":
            pair_detection.show(run)
        else:
            with st.spinner("Loading PyTorch …"):
                cache.detectors("image")
            image_detection.show(run)
