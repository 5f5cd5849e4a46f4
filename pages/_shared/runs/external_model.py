"""A model trained elsewhere: facts about its file, clean accuracy, and defenses."""

from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from cleaner.evaluation.protocol import is_same_test
from cleaner.evaluation.result import METRICS, Metrics
from cleaner.labels import format_count
from cleaner.models.resolve import resolve_model_name
from cleaner.runs.record import RunRecord
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.inspect import pickers
from pages._shared.runs import cards, jobs, sources
from pages._shared.runs.cancel import show_cancelable
from pages._shared.runs.job_requests import ExternalModel
from pages._shared.shell import state
from pages._shared.shell.frame import ICONS, link, show_error
from pages._shared.shell.menu import page_file
from pages._shared.shell.wording import escape_markdown, format_percent

HELP = "Clean a checkpoint that you do not trust; its attack success stays unknown."


def choose() -> ExternalModel | None:
    """Draw the choice of model and data; return None until a model is chosen."""
    with st.container(border=True):
        st.markdown("**Model and data**")
        model = sources.choose_model("defend.external.model", sources.OWN_MODEL)
        data = sources.choose_data("defend.external.data", "for cleaning and testing")
    return ExternalModel(model, data) if model and data else None


def is_readable(external: ExternalModel) -> bool:
    """Return whether the model's file is there and may hold weights; `show_facts` says why not."""
    try:
        cache.describe(external.key)
    except CleanerError:
        return False
    return True


def show_hint() -> None:
    """Draw what to do before a model is chosen."""
    st.info("Enter the path of your checkpoint and of your images with captions.", icon=":material/folder_open:")


def show_switch(model: str) -> None:
    """Draw the button that puts the model in view, and its data, into the form."""
    label, data = f"Clean {escape_markdown(Path(model).name)}", pickers.find_test_data(None).name
    st.button(label, key="defend.clean", icon=":material/cleaning_services:", on_click=_fill_form, args=(model, data))


def _fill_form(model: str, data: str) -> None:
    st.session_state[state.EXTERNAL] = True
    sources.set_model("defend.external.model", model)
    sources.set_data("defend.external.data", data)


def show_facts(external: ExternalModel, key: str = "defend.external") -> Metrics | None:
    """Draw facts about the model's file and, once it was opened, its metrics, which are returned."""
    with st.container(border=True):
        st.markdown(f"**{escape_markdown(external.model)}**")
        try:
            description = cache.describe(external.key)
        except CleanerError as error:
            show_error(error)  # here, so that settings, active jobs and results stay visible
            return None
        st.caption(escape_markdown(description) if description else "Not a file: opening it may download the model.")
        opened = st.session_state.setdefault(state.OPENED_MODELS, {})
        if external not in opened:
            _draw_open_button(opened, external, key)
            return None
        opened[external] = opened.pop(external)  # the one shown last is the last: other pages take its data
        try:
            close = partial(opened.pop, external, None)  # prompts encoded so far are kept
            with show_cancelable("Opening and evaluating the model …", ("open model",), close) as on_step:
                sentences, metrics = cache.inspect_model(external.key, external.test_data, on_step)
        except CleanerError as error:
            opened.pop(external, None)
            show_error(error)
            _draw_open_button(opened, external, key)
            return None
        low, high = metrics.interval("ca")
        st.metric(
            "Clean accuracy",
            format_percent(metrics.ca[1]),
            help="Zero-shot accuracy; near chance, check class names, preprocessing and file.",
        )
        st.caption(
            f"95% interval {format_percent(low)} to {format_percent(high)}, n = {metrics.n:,} of "
            f"{escape_markdown(metrics.data)}; {format_count(metrics.classes, 'classes')}, "
            f"{format_count(metrics.templates, 'prompts')} each; chance "
            f"{format_percent(1 / metrics.classes)}."
        )
        st.markdown("\n".join(f"- {escape_markdown(sentence)}" for sentence in sentences))
    return metrics


def _draw_open_button(opened: dict[ExternalModel, None], external: ExternalModel, key: str) -> None:
    icon = ":material/folder_open:"
    st.button("Open model", key=f"{key}.open", icon=icon, on_click=opened.setdefault, args=(external,))


def show_results(external: ExternalModel, before: Metrics | None) -> None:
    """Draw the finished defenses of the model; before: its metrics without a defense, None until it is opened."""
    defended = pickers.list_model_defenses(resolve_model_name(external.model))
    if not defended:
        return
    st.header("What did the defense cost?", anchor=False)
    rows = [_make_row(run, before) for run in defended]
    if before is not None:
        rows.insert(0, _make_first_row(before))
    table, (_, formats) = pd.DataFrame(rows), cards.metric_columns(defended)
    for name, metric in {"Clean accuracy": "CA", "Fine detail": "CF"}.items():
        table[name], formats[name] = 100 * table[name].astype(float), formats[metric]
    st.dataframe(table, hide_index=True, column_config=formats, placeholder="–")
    hint = "" if before is not None else "Open the model to see its accuracy before the defense. "
    tests = sorted({f"Measured on {run.protocol}. " for run in defended if run.metric("ca") is not None})
    st.caption(
        f"{escape_markdown(''.join(tests))}{hint}Without the trigger, nobody can measure whether a backdoor is gone."
    )
    link("Compare", "Compare and export")
    jobs.mark_as_seen(defended)


def _make_first_row(before: Metrics) -> dict[str, object]:
    """Return the row of the model without a defense; opening it does not measure fine detail."""
    return {
        "Defense": "Not defended",
        "Learning rate": None,
        "Clean accuracy": before.ca[1],
        "Change": "",
        "n": before.n,
        "Fine detail": None,
        "Attack success": "unknown",
        "Seconds": None,
        "Run": "",
    }


def _make_row(run: RunRecord, before: Metrics | None) -> dict[str, object]:
    """Return the row of a defense; its change in accuracy only where both were measured on the same images."""
    accuracy, change = run.metric("ca"), ""
    if before is not None and accuracy is not None:
        is_same = is_same_test(before.to_dict(), run.metrics)
        change = METRICS["ca"].format_change(before.ca[1], accuracy) if is_same else "different test data"
    return {
        "Defense": run.defense_label,
        "Learning rate": run.lr,
        "Clean accuracy": accuracy,
        **({} if before is None else {"Change": change}),
        "n": run.metrics.get("n"),
        "Fine detail": run.metric("counterfactual_accuracy"),
        "Attack success": "unknown",
        "Seconds": run.seconds,
        "Run": run.id,
    }


def show_search_button(external: ExternalModel) -> None:
    """Draw the button that puts the model in view and opens Trigger search."""
    icon = f":material/{ICONS['Trigger search']}:"
    on_click, arguments = put_in_view, (external.model, external.data)
    if st.button("Is it backdoored? Audit it", key="defend.audit", icon=icon, on_click=on_click, args=arguments):
        st.switch_page(page_file("Trigger search"))


def put_in_view(model: Path | str, data: str) -> None:
    """Put a model's file in view on all pages from the next rerun on."""
    st.session_state.setdefault(state.OPENED_MODELS, {})[ExternalModel(str(model), data)] = None
    state.select_run(state.MODEL_PREFIX + resolve_model_name(str(model)))
