"""What a session remembers, and the runs it can look at. Reads small JSON files only: nothing here loads torch.

Widgets keep their value across page switches by `persist_state="session"` (`KEEP`).
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import streamlit as st

from cleaner.files import assets, resolve_path
from cleaner.labels import to_label as to_label  # for all pages
from cleaner.runs.folders import find_run
from cleaner.runs.record import RunRecord
from cleaner.runs.store import list_runs, list_shipped_runs, read_entry

KEEP: dict[str, Any] = {"persist_state": "session"}
SELECTION = "current_run"
MODEL_PREFIX = "model:"
"""What the choice of a bare model begins with, among ids of runs."""
OPENED_MODELS = "defend.own.opened"
"""Models and data that this session has opened on the Defend page."""
_REQUESTED_RUN = "wanted_run"
_LAST = "last_run"


def all_runs() -> list[RunRecord]:
    """Return every finished run, newest first, and after them those of the shipped example."""
    own = list_runs()
    ids = {run.id for run in own}
    return own + [run for run in list_shipped_runs() if run.status.state == "done" and run.id not in ids]


def backdoored_runs() -> list[RunRecord]:
    """Return the runs that can be defended, newest first."""
    return [run for run in all_runs() if run.stage == "backdoored"]


def defended_runs(suspect: RunRecord) -> list[RunRecord]:
    """Return the defences that started from `suspect`, newest first."""
    return [run for run in _started_from(suspect) if run.rebound is None]


def rebounds(defended: RunRecord) -> list[RunRecord]:
    """Return the rebound tests of a defence, newest first."""
    return [run for run in _started_from(defended) if run.rebound is not None]


def _started_from(suspect: RunRecord) -> list[RunRecord]:
    return [run for run in all_runs() if run.started_from(suspect)]


def selectable_models() -> list[str]:
    """Return the models that can be looked at without a run: built-in ones, and those that somebody brought."""
    built_in = sorted(path.parent.name for path in assets().glob("*/model.safetensors"))
    opened = [resolve_path(own.model) for own in st.session_state.get(OPENED_MODELS, [])]
    cleaned = [run.source_model for run in all_runs() if run.source_model]
    return list(dict.fromkeys([*built_in, *opened, *cleaned]))


def is_built_in(model: str) -> bool:
    """Return whether a model came with the project, so that nobody suspects it."""
    return (assets() / model / "model.safetensors").exists()


def defenses_of_model(model: str) -> list[RunRecord]:
    """Return the defences that started from a bare model, newest first."""
    return [run for run in all_runs() if run.source_model == model]


def short_labels(runs: list[RunRecord]) -> dict[str, str]:
    """Return id -> a short name: defence and learning rate; the time, or even the id, where that is not enough."""
    names = {
        run.id: f"{to_label(run.defense or 'backdoored')}, lr {run.lr:g}{', shipped example' if run.is_shipped else ''}"
        for run in runs
    }
    shared = Counter(names.values())
    return disambiguate_labels(
        {run.id: names[run.id] + (f", {run.created_at[5:]}" if shared[names[run.id]] > 1 else "") for run in runs}
    )


def disambiguate_labels(labels: dict[str, str]) -> dict[str, str]:
    """Return id -> label, with the id where others have the same label: of equal ones a box could choose the first."""
    shared = Counter(labels.values())
    return {
        key: f"{label} · {key.removeprefix(MODEL_PREFIX)}" if shared[label] > 1 else label
        for key, label in labels.items()
    }


RATES_NOTE = (
    "Each defence has the learning rate that clean accuracy allows it, chosen without looking at the attack. At an "
    "equal rate they remove more alike, and differ in what they cost: Compare, “Measured by this project”."
)
"""Said beside figures of the shipped example."""


def capitalize_message(message: str) -> str:
    """Return a message with a capital first letter, unless it begins with the name of a file."""
    first = message.partition(" ")[0]
    return message if set(first) & set("./\\") else message[:1].upper() + message[1:]


def section_title(title: str, run: RunRecord | None) -> str:
    """Return the title of a figure, which says so where the figure is the shipped example's."""
    return f"{title} · shipped example" if run is not None and run.is_shipped else title


def select_run(run_id: str) -> None:
    """Make `run_id` the run that all pages look at, from the next rerun on."""
    st.session_state[_REQUESTED_RUN] = run_id


def apply_requested_run(options: list[str]) -> None:
    """Put the run that was asked for, or else a valid one, into the select box before it is drawn."""
    wanted = st.session_state.pop(_REQUESTED_RUN, None)
    # A value that no hand has chosen is not kept across pages by Streamlit: hence the last one seen.
    for run_id in (wanted, st.session_state.get(SELECTION), st.session_state.get(_LAST), options[0]):
        if run_id in options:
            st.session_state[SELECTION] = st.session_state[_LAST] = run_id
            return


def current_run() -> RunRecord | None:
    """Return the backdoored run that the pages look at, or None if there is none yet."""
    chosen = st.session_state.get(SELECTION)
    folder = find_run(chosen) if chosen and not chosen.startswith(MODEL_PREFIX) else None
    run = read_entry(folder) if folder is not None else None
    return run if run is not None and run.status.state == "done" else None


def current_model() -> str | None:
    """Return the bare model that the pages look at, or None where they look at a run."""
    chosen = str(st.session_state.get(SELECTION) or "")
    return chosen.removeprefix(MODEL_PREFIX) if chosen.startswith(MODEL_PREFIX) else None


def describe_selection() -> str:
    """Return what the pages look at, in words."""
    run, model = current_run(), current_model()
    return f"Run in view: {run.label}" if run is not None else f"Model in view: {model or 'none'}"


def escape_markdown(text: str) -> str:
    """Return text for st.markdown, st.caption and labels that shows as it stands: no Markdown, HTML or icons."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|$:~&])", r"\\\1", text.replace("\n", " "))


def format_percent(value: float | None, digits: int = 1) -> str:
    """Return a share in words: 0.123 -> "12.3 %"; "not measured" for None."""
    return "not measured" if value is None else f"{100 * value:.{digits}f} %"
