"""A model that somebody else trained: what its file says, how well it sees, whether a known trigger moves it."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from cleaner.types import CleanerError, StepReport
from pages._shared import cache, forms, state
from pages._shared.frame import link, show_error
from pages._shared.requests import ExternalModel
from pages._shared.state import KEEP, escape_markdown, format_percent, to_label

HELP = (
    "A checkpoint that you do not trust, and a few thousand clean pairs. Its trigger is not known, so that no attack "
    "success can be measured."
)
ALL_TRIGGERS = "every built-in one"
IMAGE_COUNTS = (100, 200, 500, 1000, 2000)
MAX_SCAN_ROWS = 12


def choose() -> ExternalModel | None:
    """Draw the boxes for model and data; return them once there is a model."""
    with st.container(border=True):
        st.markdown("**Your model and data**")
        model = st.selectbox(
            "Model",
            cache.models(),
            None,
            key="defend.own.model",
            accept_new_options=True,
            **KEEP,
            placeholder="epoch_10.pt",
            help="The path of a checkpoint (.pt, .safetensors), ARCHITECTURE:FILE, a folder, or the name of a model "
            "of open_clip, which is downloaded when it is opened. Code in a file is never run.",
        )
        data = forms.choose_data("defend.own.data", "to clean and to measure with")
    return ExternalModel(str(model).strip(), data) if model and str(model).strip() else None


def show_hint() -> None:
    """Say what to do where no model was named yet."""
    st.info(
        "Type the path of your checkpoint on the left, and of your pictures with captions. What the file says is shown "
        "before anything is trained.",
        icon=":material/folder_open:",
    )


def show_facts(external: ExternalModel) -> None:
    """Draw what the model's file says, and its accuracy on some test pictures, once it was opened."""
    with st.container(border=True):
        st.markdown(f"**What we know of {escape_markdown(external.model)}**")
        known = cache.describe(external.model)
        st.caption(escape_markdown(known) if known else "A name, not a file here: opening it may download the model.")
        opened = st.session_state.setdefault(state.OPENED_MODELS, [])
        if external not in opened:
            icon = ":material/folder_open:"
            st.button("Open the model", key="defend.own.open", icon=icon, on_click=opened.append, args=(external,))
            return
        try:
            with st.spinner("Opening the model, and looking at some pictures with it …"):
                lines, metrics = cache.inspect_model(external.model, external.data)
        except CleanerError as error:
            show_error(error)
            return
        st.markdown("\n".join(f"- {escape_markdown(line)}" for line in lines))
        low, high = metrics.interval("ca")
        st.metric(
            "Clean accuracy before anything is done",
            format_percent(metrics.ca[1]),
            help="Zero-shot accuracy: if it is near chance, the class names, the preprocessing or the file is wrong.",
        )
        st.caption(
            f"95 % interval {format_percent(low)} to {format_percent(high)}, n = {metrics.n:,} of {escape_markdown(metrics.data)}; by chance "
            f"{format_percent(1 / metrics.classes)}. Attack success: not known, because the trigger is not known."
        )


def results(external: ExternalModel) -> None:
    """Draw the defences of this model that are done."""
    done = [
        run for run in state.all_runs() if run.stage == "defended" and cache.is_from_model(run.config, external.model)
    ]
    if not done:
        return
    st.subheader("What did the cure cost?", anchor=False)
    rows = [
        {
            "Defence": to_label(run.defense or ""),
            "Learning rate": f"{run.lr:g}",
            "Clean accuracy": format_percent(run.metric("ca")),
            "n": run.metrics.get("n"),
            "Fine detail": format_percent(run.metric("counterfactual_accuracy")),
            "Attack success": "not known",
            "Seconds": run.seconds,
            "Run": run.id,
        }
        for run in done
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
    st.caption(
        "Clean accuracy says what a defence cost, not whether a backdoor is gone: nobody can measure that without the "
        "trigger. The cleaned weights can be saved on the Compare page."
    )
    link("Compare", "Compare and save")


def show_trigger_scan(external: ExternalModel) -> None:
    """Draw the search for a trigger: one that is suspected, or all built-in ones."""
    with st.expander("Look for a trigger", icon=":material/search:", key="defend.hunt"):
        st.markdown(
            "Put triggers on clean pictures and see whether **one class** gets many more of them. No label is needed."
        )
        first, second, third = st.columns(3)
        kinds = cache.triggers()
        kind = first.selectbox(
            "Trigger",
            [ALL_TRIGGERS, *kinds],
            format_func=lambda name: name if name == ALL_TRIGGERS else to_label(name),
            key="defend.hunt.kind",
            help="Or one that you suspect: a picture file as a patch, for example.",
            **KEEP,
        )
        n = second.select_slider("Pictures", IMAGE_COUNTS, 200, key="defend.hunt.n", **KEEP)
        trusted = third.selectbox(
            "Compare with a model you trust",
            cache.models(),
            None,
            key="defend.hunt.reference",
            **KEEP,
            placeholder="none",
            help="A strong trigger moves clean models too; what moves both is no backdoor.",
        )
        try:
            trigger = None if kind == ALL_TRIGGERS else forms.draw_form(kinds[kind], f"defend.hunt.{kind}")
            asked = (external, None if trigger is None else str(trigger.state_dict()), n, trusted)
            if st.button("Look", key="defend.hunt.go", icon=":material/search:"):
                st.session_state["defend.hunt.asked"] = asked
            if st.session_state.get("defend.hunt.asked") == asked:
                _show_scan(external, trigger, n, trusted)
        except CleanerError as error:
            show_error(error)


def _show_scan(external: ExternalModel, trigger: object | None, n: int, reference: str | None) -> None:
    """Draw the steepest lines of a scan."""
    place = st.empty()

    def tell(report: StepReport) -> None:
        place.progress(report.step / report.total, text=f"Looking: about {report.eta:.0f} s left")

    lines, left, warning = cache.scan(external.model, external.data, trigger, n, tell)
    known = {}
    if reference:
        known = {(r.trigger, r.class_name): r for r in cache.scan(reference, external.data, trigger, n, tell)[0]}
    place.empty()
    rows = [
        {
            "Trigger": to_label(r.trigger),
            "Class": r.class_name,
            "Without": format_percent(r.before),
            "With": format_percent(r.after),
            "Rise (points)": f"{100 * r.rise:+.1f} [{100 * r.interval[0]:+.1f}, {100 * r.interval[1]:+.1f}]",
        }
        | ({f"Rise of {reference} (points)": f"{100 * known[r.trigger, r.class_name].rise:+.1f}"} if reference else {})
        for r in lines[:MAX_SCAN_ROWS]
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
    not_tried = f" Not tried: {', '.join(to_label(name) for name in left)}." if left else ""
    st.caption(
        f"The steepest of {len(lines):,} lines (each trigger and class), n = {lines[0].n:,} test pictures; the "
        f"intervals hold for all lines at once with 95 %.{not_tried}"
    )
    st.warning(warning, icon=":material/warning:")
