"""The frame of every page: menu, run in view, pipeline, lesson; errors become messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pandas  # noqa: F401  # before any chart: plotly fails while another thread is still importing pandas
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from cleaner.evaluation.result import SUCCESS_ASR, success_share
from cleaner.labels import format_count, to_attack_label
from cleaner.reports.verdict import find_best, find_excess_loss
from cleaner.runs.record import RunRecord
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.runs import jobs, ticker
from pages._shared.shell import access, address, lesson, stage_mode, state, warm, wording
from pages._shared.shell.menu import menu_groups, page_file
from pages._shared.shell.wording import escape_markdown, format_percent, format_rate

ICONS = {
    "Overview": "home",
    "Poison": "bug_report",
    "Defend": "health_and_safety",
    "Embeddings": "scatter_plot",
    "Attention": "visibility",
    "Subtexts": "match_case",
    "Film": "movie",
    "Try it": "touch_app",
    "Compare": "table_chart",
    "Detect": "policy",
    "Trigger search": "frame_inspect",
    "Exercises": "school",
    "Challenge": "emoji_events",
}
STEP_ICONS = {
    "current": "location_on",
    "running": "hourglass_top",
    "failed": "warning",
    "done": "check_circle",
    "open": "radio_button_unchecked",
}
"""State of a pipeline step, which is also its CSS class -> icon."""
STEP_OF_PAGE = {"Poison": 1, "Defend": 3, "Compare": 4}
FRAME_SECONDS = 0.03
"""Pause that sends the frame before the charts: sent together, both are painted only when the charts are."""
STYLE = Path(__file__).with_name("style.css")


class PipelineStep(NamedTuple):
    """One step of the pipeline."""

    label: str
    page: str
    detail: str
    state: str
    """"running", "done", "failed" or "open"."""


@contextmanager
def page(title: str, lead: str, *, picture: str = "", prepare: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Draw the frame of a page around its content and show a `CleanerError` as a message.

    picture: selector of the main picture, which stage mode shows alone, without :has, which CSS does not nest; without
    one it shows all content. prepare: sets widgets before the frame draws them, for who may use the app.
    """
    st.set_page_config(page_title=f"{title} · TA-Cleaner Lab", page_icon="🧹", layout="wide", initial_sidebar_state=250)
    st.html(STYLE)
    access.admit()
    prepare()
    address.restore()
    stage_mode.update()
    jobs.run_pending_start(title.lower())
    cache.yield_to_training(jobs.is_processor_busy())
    if title == "Poison":
        jobs.view_new_run()
    lesson.follow(title)
    _sidebar()
    _show_pipeline(title)
    with st.container(key="head", horizontal=True):
        st.title(title, anchor=False, width="content")
        st.markdown(lead)
    if stage_mode.is_on():
        stage_mode.show(title, picture)
    else:
        lesson.show_bar(title, link)
    error_place = st.empty()
    time.sleep(FRAME_SECONDS)
    try:
        yield
    except CleanerError as error:
        show_error(error)
    if failed := jobs.last_error():  # of an action of this page, or of a start that another page was left for
        with error_place:
            show_error(failed)
    cache.warm_up()
    warm.warm_run_in_view()
    cache.keep_worker()


def show_error(error: CleanerError) -> None:
    """Draw the message of an error."""
    st.error(escape_markdown(wording.capitalize_message(str(error))), icon=":material/error:")


def link(title: str, label: str | None = None) -> None:
    """Draw a link to a page."""
    icon = f":material/{ICONS.get(title, 'chevron_right')}:"
    st.page_link(page_file(title), label=label or title, icon=icon, query_params=address.current())


def defend_button(label: str, key: str) -> None:
    """Draw a button that opens the Defend page with the run in view, if any."""
    icon = f":material/{ICONS['Defend']}:"
    if st.button(label, key=key, icon=icon, type="tertiary", on_click=state.leave_external_model):
        st.switch_page(page_file("Defend"))


def _sidebar() -> None:
    labels = state.view_labels()
    if labels:
        state.apply_requested_run(list(labels))
    address.write()  # before the links, which keep it
    with st.sidebar:
        st.markdown("### :material/cleaning_services: TA-Cleaner Lab")
        with st.container(key="menu", gap=None):
            for group, pages in menu_groups().items():
                st.caption(group)
                for title in pages:
                    link(title)
        with st.container(key="view"):
            _choose_view(labels)
        stage_mode.show_switch()


def _choose_view(labels: dict[str, str]) -> None:
    """Draw the choice of the run or model in view; labels: id -> label of each."""
    if not labels:
        st.markdown("**In view**")
        st.caption("Nothing yet: train a backdoored model on the Poison page.")
        return
    st.selectbox(
        "In view",
        list(labels),
        format_func=labels.__getitem__,
        key=state.SELECTION,
        on_change=state.leave_external_model,
        **state.KEEP,
        help="The backdoored run, or the model without a known attack, that every page shows.",
    )
    run, model = state.current_run(), state.current_model()
    if run is not None:
        _show_run_facts(run)
    elif model is not None:
        st.caption("No known trigger." + ("" if state.is_built_in(model) else " Look for one: Trigger search."))


def _show_run_facts(run: RunRecord) -> None:
    """Draw the settings of the run in view."""
    target = escape_markdown(str(run.target_class))
    share = f"{format_rate(run.poison_rate)} of {run.pairs:,} pairs"
    st.caption(
        f"Model **{escape_markdown(run.model)}** · {escape_markdown(to_attack_label(run.attack))} → **{target}** · "
        f"{share} · learning rate {run.lr:g}"
    )


def _show_pipeline(title: str) -> None:
    """Draw the pipeline; while a job of another page is active, redraw it and report when the job ends."""
    active_now = jobs.active_pages()
    waiting = active_now - {title.lower()}  # a page watches its own jobs

    @st.fragment
    def watch() -> None:
        active = jobs.active_pages()
        strip = _draw_pipeline(title, active)
        for kind in sorted(waiting - active):
            st.toast(f"A training of the {kind.capitalize()} page has ended.", icon=":material/task_alt:")
        waiting.intersection_update(active)
        if waiting:
            with strip:
                ticker.tick("pipeline.tick")

    watch() if waiting else _draw_pipeline(title, active_now)


def _draw_pipeline(title: str, active: set[str]) -> DeltaGenerator:
    """Draw the pipeline's steps with the state of the run in view; active: pages with jobs."""
    query, strip = address.current(), st.container(key="pipeline", gap=None)
    with strip:
        columns = st.columns(5, gap="small")
    for i, (column, step) in enumerate(zip(columns, _pipeline_steps(active), strict=True)):
        step_state = "current" if i == STEP_OF_PAGE.get(title) else step.state
        with column, st.container(key=f"step-{step_state}-{i}"):
            st.page_link(
                page_file(step.page),
                label=f"**{step.label}** {step.detail}",
                icon=f":material/{STEP_ICONS[step_state]}:",
                query_params=query,
            )
    return strip


def _describe_best(run: RunRecord | None, defended: list[RunRecord]) -> str:
    """Return what the best defense left and, if too much, the accuracy it lost; or why none is best."""
    if run is None or all(success_share(other) is None for other in defended):
        return "success unknown"
    if (best := find_best(run, defended)) is None:
        return f"too few {run.queries}" if run.has_few_images else "tests differ"
    left, loss = format_percent(success_share(best), 0), find_excess_loss(run, best)
    return f"attack {left}, CA −{100 * loss:.0f}" if loss else f"attack left: {left}"  # both fit into the strip


def _pipeline_steps(active: set[str]) -> list[PipelineStep]:
    """Return the five steps for the run or model in view."""
    run = state.current_run()
    defended = state.defenses_of_run(run) if run is not None else []
    model, attack, success, defenses, best = "choose one", "not yet", "not yet", "not yet", "not yet"
    if bare_model := state.current_model():
        model, defended = escape_markdown(Path(bare_model).name), state.defenses_of_model(bare_model)
    share = success_share(run) if run is not None else None
    if run is not None:
        model = escape_markdown(run.model)
        attack = escape_markdown(f"{to_attack_label(run.attack)}, {format_rate(run.poison_rate)}")
        success = format_percent(share, 0) + (f" of {run.count('asr')} {run.queries}" if run.has_few_images else "")
    if defended:
        defenses = format_count(len(defended), "defenses")
        best = _describe_best(run, defended)
    poisoned, cleaned = "done" if run is not None else "open", "done" if defended else "open"
    success_state = "failed" if share is not None and share < SUCCESS_ASR else poisoned
    if run is not None and run.has_few_images:
        success_state = "open"
    return [
        PipelineStep("Model", "Poison", model, "done" if run is not None or bare_model else "open"),
        _make_step("Poison", attack, poisoned, is_training="poison" in active),
        PipelineStep("Attack success", "Poison", success, success_state),
        _make_step("Defend", defenses, cleaned, is_training="defend" in active),
        PipelineStep("Compare", "Compare", best, cleaned),
    ]


def _make_step(page: str, detail: str, step_state: str, *, is_training: bool) -> PipelineStep:
    """Return the step of a page that trains models; a running training takes precedence over a result."""
    return PipelineStep(page, page, *(("training …", "running") if is_training else (detail, step_state)))
