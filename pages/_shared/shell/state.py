"""Session state and the runs on disk. Reads small JSON files only; never imports torch."""

from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from cleaner.files import assets
from cleaner.models.header import is_clip_file
from cleaner.models.resolve import resolve_model_name
from cleaner.presets import is_pretrained
from cleaner.runs.folders import find_run
from cleaner.runs.names import label_attack, number_equal_beginnings
from cleaner.runs.record import RunRecord
from cleaner.runs.status import RunState
from cleaner.runs.store import read_entry
from pages._shared.shell import times, visitors
from pages._shared.shell.wording import escape_markdown

KEEP: dict[str, Any] = {"persist_state": "session"}
"""Options of a widget that keeps its value across page switches."""
SELECTION = "current_run"
"""Session key of the run or model in view."""
MODEL_PREFIX = "model:"
"""Prefix of a model without a run among the values of `SELECTION`."""
EXTERNAL = "defend.external"
"""Session key of the switch to an external model on the Defend page."""
OPENED_MODELS = "defend.external.opened"
"""Session key of the opened models with their data, the one shown last at the end."""
CLICK_SECONDS = 5.0
"""Longest time between the first and the last run that one click puts into the queue."""
_REQUESTED_RUN = "requested_run"
_LAST_SELECTION = "last_run"
T = TypeVar("T")


def choose_segment(
    label: str,
    options: Iterable[T],
    *,
    key: str,
    default: T | None = None,
    format_func: Callable[[T], str] = str,
    help: str | None = None,
    is_label_hidden: bool = False,
) -> T:
    """Draw a choice of one option, by default the first; return it. A mapping has the labels of its keys."""
    choices = list(options)
    option: T = st.segmented_control(
        label,
        choices,
        required=True,  # a click on the chosen segment must not clear it: the page would show it unmarked
        default=choices[0] if default is None else default,
        format_func=options.__getitem__ if isinstance(options, Mapping) else format_func,
        key=key,
        help=help,
        label_visibility="collapsed" if is_label_hidden else "visible",
        **KEEP,
    )
    return option


def follow_default(key: str, options: Container[str], default: list[str]) -> None:
    """Give a box of several choices its default, and a new one as long as the user has chosen nothing else.

    Choices that are gone are dropped; the others are set again, as their labels can have changed: the browser sends
    labels back.
    """
    shown = f"{key}.default"
    chosen = st.session_state.get(key)
    if chosen is None or chosen == st.session_state.get(shown):
        chosen = default
    st.session_state[key] = [choice for choice in chosen if choice in options] or (default if chosen else [])
    st.session_state[shown] = default


def all_runs() -> list[RunRecord]:
    """Return every finished run, newest first, then those of the shipped example."""
    return visitors.view_runs().finished


def backdoored_runs() -> list[RunRecord]:
    """Return the backdoored runs, newest first."""
    return [run for run in all_runs() if run.stage == "backdoored"]


def defended_runs(suspect: RunRecord) -> list[RunRecord]:
    """Return the defenses of `suspect`, newest first, started together in order, retrainings last."""
    groups: list[list[RunRecord]] = []
    for run in list_started_from(suspect):
        if run.rebound is not None:
            continue
        if groups and run.status.queued and abs(groups[-1][0].status.queued - run.status.queued) < CLICK_SECONDS:
            groups[-1].insert(0, run)
        else:
            groups.append([run])
    return sorted((run for group in groups for run in group), key=lambda run: run.is_retrained)


def defenses_of_run(suspect: RunRecord) -> list[RunRecord]:
    """Return `defended_runs` without the trainings without flagged pairs, which clean no model."""
    return [run for run in defended_runs(suspect) if not run.is_retrained]


def rebounds(defended: RunRecord) -> list[RunRecord]:
    """Return the rebound tests of a defense, newest first."""
    return [run for run in list_started_from(defended) if run.rebound is not None]


def list_started_from(suspect: RunRecord) -> list[RunRecord]:
    """Return the finished runs that started from a run, newest first."""
    return [run for run in all_runs() if run.started_from(suspect)]


def selectable_models() -> list[str]:
    """Return the models that can be viewed without a run: built-in, opened by the user, and already defended ones."""
    built_in = sorted(path.parent.name for path in assets().glob("*/model.safetensors") if is_clip_file(path))
    opened = sorted(resolve_model_name(external.model) for external in st.session_state.get(OPENED_MODELS, []))
    defended = [run.source_model for run in all_runs() if run.source_model]
    return list(dict.fromkeys([*built_in, *opened, *defended]))


def is_built_in(model: str) -> bool:
    """Return whether a model came with the project, so it is known to be clean."""
    return not is_pretrained(model) and is_clip_file(assets() / model / "model.safetensors")


def defenses_of_model(model: str) -> list[RunRecord]:
    """Return the defenses that started from a model without a run, newest first."""
    return [run for run in all_runs() if run.source_model == model]


def subtext_defenses() -> list[RunRecord]:
    """Return the defenses of the run or model in view that draw subtexts, newest first."""
    suspect = current_run()
    defenses = defenses_of_run(suspect) if suspect is not None else defenses_of_model(current_model() or "")
    return [run for run in defenses if run.draws_subtexts]


def view_labels() -> dict[str, str]:
    """Return the runs and models that can be in view, key -> label; the beginnings tell them apart."""
    labels = {run.id: _view_label(run) for run in backdoored_runs()}
    labels |= {MODEL_PREFIX + model: _model_label(model) for model in selectable_models()}
    return number_equal_beginnings(labels)


def _view_label(run: RunRecord) -> str:
    """Return a label whose first words are unique: the box has no room for more."""
    if run.name:
        return f"{run.name} · {times.created_at(run)}"
    what = label_attack(run)
    return f"Example: {what}" if run.is_shipped else f"{times.created_at(run)[5:]} · {what} · {run.model}"


def _model_label(model: str) -> str:
    return f"{Path(model).name} · {'clean' if is_built_in(model) else 'trigger unknown'}"


RATES_NOTE = (
    "Each defense uses the learning rate that clean accuracy alone chose. The clean pairs have long captions only; "
    "with these, every rate of CleanCLIP costs too much accuracy in so few steps: try **Clean captions: Mixed** "
    "(Defend, All defenses)."
)
"""Shown next to metrics of the shipped example."""


def select_run(run_id: str) -> None:
    """Put a run in view on all pages from the next rerun on."""
    st.session_state[_REQUESTED_RUN] = run_id


def apply_requested_run(options: list[str]) -> None:
    """Set the select box of the run in view, before it is drawn: to the requested run, else to a valid one."""
    requested = st.session_state.pop(_REQUESTED_RUN, None)
    if requested:
        requested = _find_viewable(requested, options)
    # A label that no option has any more, but that the browser sent before it knew, arrives as a text.
    selection, last = st.session_state.get(SELECTION), st.session_state.get(_LAST_SELECTION)
    if requested and requested.startswith(MODEL_PREFIX) and requested not in options:  # of an address
        name = Path(requested.removeprefix(MODEL_PREFIX)).name
        st.toast(f"{escape_markdown(name)} is no longer open: open it again on Defend.", icon=":material/folder_open:")
    elif requested and requested not in options:
        st.toast(f"There is no run {escape_markdown(requested)}: showing another.", icon=":material/search_off:")
    elif last and not {requested, selection, last} & set(options):  # deleted, maybe in another tab
        name, what = last, "is gone"
        if last.startswith(MODEL_PREFIX):  # it was in view because of a defense
            name, what = Path(last.removeprefix(MODEL_PREFIX)).name, "has no defenses left"
        st.toast(f"{escape_markdown(name)} {what}: showing another.", icon=":material/search_off:")
    for run_id in (requested, selection, last, options[0]):
        if run_id in options:
            st.session_state[SELECTION] = st.session_state[_LAST_SELECTION] = run_id
            if run_id == requested:
                leave_external_model()
            return


def _find_viewable(requested: str, options: list[str]) -> str:
    """Return the requested run or model; for a defense, its backdoored run."""
    defenses = [] if requested in options else [run for run in all_runs() if run.id == requested]
    return next((run.id for run in backdoored_runs() for other in defenses if other.started_from(run)), requested)


def leave_external_model() -> None:
    """Switch the Defend page from an external model back to the run in view, if any."""
    if current_model() is None:
        st.session_state[EXTERNAL] = False


def current_run() -> RunRecord | None:
    """Return the backdoored run in view, or None."""
    selection = st.session_state.get(SELECTION)
    folder = find_run(selection) if selection and not selection.startswith(MODEL_PREFIX) else None
    run = read_entry(folder) if folder is not None else None
    return run if run is not None and run.status.state == RunState.DONE and visitors.select([run]) else None


def current_model() -> str | None:
    """Return the model in view, or None if a run is in view."""
    selection = str(st.session_state.get(SELECTION) or "")
    return selection.removeprefix(MODEL_PREFIX) if selection.startswith(MODEL_PREFIX) else None


def describe_selection() -> str:
    """Return a phrase that names the run or model in view."""
    run, model = current_run(), current_model()
    return f"Run in view: {times.label_run(run)}" if run is not None else f"Model in view: {model or 'none'}"
