"""Trigger search: is a model backdoored, does a known trigger move it, and what would an unknown one look like?"""

import streamlit as st

from cleaner.runs.inversion_result import read_inversion
from cleaner.runs.store import has_failed_attack
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.detect import audit_view, inversion_view, trigger_scan
from pages._shared.detect.inversion_view import Subject
from pages._shared.inspect import pickers
from pages._shared.shell import stage_mode, state, wording
from pages._shared.shell.frame import page

LEAD = "**Find the trigger of a model that you do not trust**: audit it, try the known ones, or invert an unknown one."
METHODS = {
    "audit": "Is this model backdoored?",
    "scan": "Does a known trigger work?",
    "invert": "What would a trigger look like?",
}

TITLES = {"audit": "Audit", "scan": "Known triggers", "invert": "Suspect class and inverted trigger"}


def find_subject() -> Subject:
    """Return the run or model in view."""
    run = state.current_run()
    data = pickers.require_data(pickers.find_test_data(run)).name
    if run is not None:
        return Subject(("run", str(run.folder)), str(run.folder), data, run)
    model = state.current_model()
    if model is None:
        raise CleanerError("no model is in view: train one on the Poison page, or open one on the Defend page.")
    return Subject(cache.make_model_key(model), model, data, None)


with page("Trigger search", LEAD, picture=".st-key-search-invert-classes"):
    with st.spinner("Loading PyTorch …"):
        cache.triggers()
    subject = find_subject()
    has_inversion = read_inversion(subject.stored_folder) is not None
    method = state.choose_segment(
        "Method",
        METHODS,
        default="invert" if has_inversion else "audit",
        key=f"search.method.{subject.name}",
        is_label_hidden=True,
    )
    is_own = method == "invert" and subject.stored_folder == subject.result_folder
    title = f"{TITLES[method]} · searched on this machine" if is_own and has_inversion else ""
    st.markdown(f"## {title or wording.section_title(TITLES[method], subject.run)}")
    if subject.run is not None and has_failed_attack(subject.run):
        st.warning("The attack failed: there may be no trigger to find.", icon=":material/warning:")
    if method != "invert":
        stage_mode.explain_missing(
            "Stage mode shows the inverted trigger: choose or start the inversion outside of it."
        )
    if method == "audit":
        audit_view.show(subject)
    elif method == "scan":
        model = subject.name if subject.run is None else str(subject.run.folder / "model.safetensors")
        trigger_scan.show(model, subject.data)
    else:
        inversion_view.show(subject)
