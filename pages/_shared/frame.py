"""The frame of every page: menu, the run in view, the pipeline strip, and one place that turns bad input into words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas  # noqa: F401  # before any chart: plotly fails on one that another thread has half imported
import streamlit as st

from cleaner.labels import to_attack_label
from cleaner.runs.record import RunRecord
from cleaner.types import CleanerError
from pages._shared import cache, jobs, lesson, state
from pages._shared.state import escape_markdown, format_percent

PAGES = Path(__file__).resolve().parent.parent
ICONS = {
    "Overview": "home",
    "Poison": "bug_report",
    "Defend": "health_and_safety",
    "Embeddings": "scatter_plot",
    "Attention": "visibility",
    "Subtexts": "match_case",
    "Try it": "touch_app",
    "Compare": "table_chart",
}
STEP_ICONS = {"here": "location_on", "bad": "warning", "done": "check_circle", "open": "radio_button_unchecked"}
FRAME_SECONDS = 0.03
"""A pause in which the frame reaches the browser: what comes in one message with charts is painted when they are."""
STYLE = Path(__file__).with_name("style.css")


@contextmanager
def page(title: str, lead: str) -> Iterator[None]:
    """Frame a page: `with page("Poison", "..."):` around all it draws. Bad input inside ends in one sentence."""
    st.set_page_config(page_title=f"{title} · TA-Cleaner Lab", page_icon="🧹", layout="wide", initial_sidebar_state=250)
    st.html(STYLE)
    jobs.run_pending_start(title.lower())
    _sidebar()
    _show_pipeline(title)
    lesson.show_step(title, page_file)
    st.title(title, anchor=False)
    st.markdown(lead)
    time.sleep(FRAME_SECONDS)
    try:
        yield
    except CleanerError as error:
        show_error(error)
    cache.warm_up()


def show_error(error: CleanerError) -> None:
    """Draw bad news."""
    st.error(escape_markdown(state.capitalize_message(str(error))), icon=":material/error:")


def page_file(title: str) -> str | None:
    """Return the path of a page for links, or None where this version does not have it."""
    found = sorted(PAGES.glob(f"*_{title.replace(' ', '_')}.py"))
    return f"pages/{found[0].name}" if found else None


def titles() -> list[str]:
    """Return the titles of all pages in the order of their numbers."""
    files = sorted(PAGES.glob("[0-9]*_*.py"), key=lambda path: int(path.stem.partition("_")[0]))
    return [path.stem.partition("_")[2].replace("_", " ") for path in files]


def link(title: str, label: str | None = None) -> None:
    """Draw a link to a page, if there is such a page."""
    file = page_file(title)
    if file is not None:
        st.page_link(file, label=label or title, icon=f":material/{ICONS.get(title, 'chevron_right')}:")


def _sidebar() -> None:
    with st.sidebar:
        st.markdown("### :material/cleaning_services: TA-Cleaner Lab")
        for title in titles():
            link(title)
        st.divider()
        labels = {run.id: run.label for run in state.backdoored_runs()}
        labels |= {state.MODEL_PREFIX + model: _model_label(model) for model in state.selectable_models()}
        if not labels:
            st.markdown("**In view**")
            st.caption("None yet. Train a backdoored model on the Poison page; it will be kept here.")
            return
        labels = state.disambiguate_labels(labels)
        state.apply_requested_run(list(labels))
        st.selectbox(
            "In view",
            list(labels),
            format_func=labels.__getitem__,
            key=state.SELECTION,
            **state.KEEP,
            help="What every page looks at: a backdoored model with its defences, or a model of which no attack is "
            "known. Runs are kept on this machine; open a model of your own on the Defend page.",
        )
        run, model = state.current_run(), state.current_model()
        if run is not None:
            _show_run_facts(run)
        elif model is not None:
            st.caption(
                "No attack on this model is known here, so that it is shown without a trigger."
                + ("" if state.is_built_in(model) else " Look for one on the Defend page.")
            )


def _model_label(model: str) -> str:
    kind = "never poisoned" if state.is_built_in(model) else "trigger unknown"
    return f"Model {Path(model).name} · {kind}"


def _show_run_facts(run: RunRecord) -> None:
    """Say in the menu what the run in view is."""
    target = escape_markdown(str(run.target_class))
    share = f"{format_percent(run.poison_rate)} of {run.pairs:,} pairs"
    st.caption(
        f"Model **{escape_markdown(run.model)}** · {escape_markdown(to_attack_label(run.attack))} → **{target}** · {share} · learning rate {run.lr:g}"
    )
    st.caption(
        f"Clean accuracy {format_percent(run.metric('ca'))}, attack success {format_percent(run.metric('asr'))} "
        f"(n = {run.count('ca'):,} and {run.count('asr'):,})"
    )


def _show_pipeline(title: str) -> None:
    """Draw the pipeline: what is done for the run in view, and where the reader is."""
    marked = {"Poison": 1, "Defend": 3, "Compare": 4}.get(title)
    with st.container(key="strip"):
        columns = st.columns(5, gap="small")
    for i, (column, (name, target, detail, kind)) in enumerate(zip(columns, _steps(), strict=True)):
        kind = "here" if i == marked else kind
        with column, st.container(key=f"step-{kind}-{i}"):
            st.page_link(str(page_file(target)), label=name, icon=f":material/{STEP_ICONS[kind]}:")
            st.caption(detail)


def _steps() -> list[tuple[str, str, str, str]]:
    """Return (name, page, detail, kind) of the five steps; kind: "done", "bad" or "open"."""
    run = state.current_run()
    defended = state.defended_runs(run) if run is not None else []
    busy = jobs.active_pages()
    model, attack, took, cleaned, best = "choose one", "not yet", "not yet", "not yet", "not yet"
    success = run.metric("asr") if run is not None else None
    if bare := state.current_model():
        model, defended = escape_markdown(Path(bare).name), state.defenses_of_model(bare)
    if run is not None:
        model, attack = (
            escape_markdown(run.model),
            escape_markdown(f"{to_attack_label(run.attack)}, {format_percent(run.poison_rate, 0)}"),
        )
        took = f"success {format_percent(success, 0)}"
    if defended:
        cleaned = "1 defence" if len(defended) == 1 else f"{len(defended)} defences"
        lowest = _lowest(defended)
        best = "success not known" if lowest is None else f"lowest success {format_percent(lowest, 0)}"
    done = "done" if run is not None else "open"
    after = "done" if defended else "open"
    return [
        ("Model", "Poison", model, "done" if run is not None or bare else "open"),
        ("Poison", "Poison", "training …" if "poison" in busy else attack, done),
        ("Attack took?", "Poison", took, "bad" if success is not None and success < 0.9 else done),
        ("Defend", "Defend", "training …" if "defend" in busy else cleaned, after),
        ("Compare", "Compare" if page_file("Compare") else "Defend", best, after),
    ]


def _lowest(runs: list[RunRecord]) -> float | None:
    figures = [value for run in runs if (value := run.metric("asr")) is not None]
    return min(figures) if figures else None
