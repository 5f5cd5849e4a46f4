"""What the pages that look into models look at, the same on all of them: models, one picture, its trigger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from cleaner.files import resolve_path
from cleaner.runs.record import RunRecord
from cleaner.runs.request import TEST_SIZE
from cleaner.types import CleanerError
from pages._shared import cache, gallery, requests, state
from pages._shared.frame import link
from pages._shared.state import KEEP, escape_markdown

MAX_SAMPLES = 300
OWN_INDEX = -1


@dataclass(frozen=True)
class Stage:
    """One model on show; `model` is what `cache.of_stage` takes."""

    label: str
    stage: str
    model: tuple[str, ...]
    run_label: str
    """Which run it is, in words."""


@dataclass(frozen=True)
class Sample:
    """One picture: number `index` of a split, or a file of the user's own."""

    data: str
    split: str
    size: int
    index: int
    own_image: tuple[str, bytes] | None = None
    model: tuple[str, ...] | None = None
    """As which model it is seen, where there is no run whose trigger acts on it."""


def choose_stages(run: RunRecord | None) -> list[Stage]:
    """Draw the choice of the defended model; return the models to look at, in the order clean, backdoored, defended."""
    if run is not None:
        found = [Stage("Backdoored", "backdoored", ("run", str(run.folder)), run.id)]
        if run.config.get("clean_model"):
            found.insert(0, Stage("Clean", "clean", ("clean", str(run.folder)), run.model))
        return found + _choose_defended(state.defended_runs(run), run.id)
    model = state.current_model()
    if model is None:
        raise CleanerError("no built-in model has its weights here: train them with python -m cleaner pretrain.")
    return [make_model_stage(model), *_choose_defended(state.defenses_of_model(model), model)]


def make_model_stage(model: str) -> Stage:
    """Return a model that belongs to no run: nobody suspects a built-in one."""
    stage = "clean" if state.is_built_in(model) else "suspect"
    return Stage(stage.capitalize(), stage, cache.make_model_key(model), model)


def _choose_defended(runs: list[RunRecord], suspect: str) -> list[Stage]:
    """Draw the choice of the defended model, if there is one; return it."""
    if not runs:
        st.caption("No defended model yet.")
        link("Defend", "Train one")
        return []
    folders, names = {run.id: run.folder for run in runs}, state.short_labels(runs)
    chosen = st.selectbox(
        "Defended model",
        list(folders),
        format_func=names.__getitem__,
        key=f"view.defended.{suspect}",
        help="One of the defences of what is in view.",
        **KEEP,
    )
    return [Stage("Defended", "defended", ("run", str(folders[chosen])), names[chosen])]


def find_test_data(run: RunRecord | None) -> tuple[str, int]:
    """Return the data set and size of the test split on which a run was measured."""
    if run is not None:
        return requests.read_test_data(run)
    model = state.current_model() or ""
    brought = [own.data for own in st.session_state.get(state.OPENED_MODELS, []) if resolve_path(own.model) == model]
    cleaned = [requests.read_test_data(other)[0] for other in state.defenses_of_model(model)]
    return [*brought[-1:], *cleaned, "scenes"][0], TEST_SIZE


def selected_model_key() -> tuple[str, ...] | None:
    """Return the model in view as `cache.of_stage` takes it; None where a run is in view."""
    model = state.current_model()
    return None if model is None else cache.make_model_key(model)


def choose_sample(run: RunRecord | None) -> Sample:
    """Draw the choice of a test picture, or of the user's own; the same on every page that asks."""
    name, size = find_test_data(run)
    data = cache.load_data(name, "test", size)
    own = st.session_state.get(gallery.OWN_IMAGE)
    options = [*([OWN_INDEX] if own else []), *range(min(MAX_SAMPLES, len(data)))]

    def shown(index: int) -> str:
        return f"Your own: {own[0]}" if index == OWN_INDEX and own else f"{index} · {data.captions[index]}"

    key = f"view.sample.{name}"
    if st.session_state.get(key) not in options:
        st.session_state.pop(key, None)
    index = int(st.selectbox("Picture", options, format_func=shown, key=key, help="Type to search.", **KEEP))
    return Sample(name, "test", size, index, own if index == OWN_INDEX else None, selected_model_key())


def find_trigger_run(run: RunRecord | None) -> Path | None:
    """Return the folder of the run whose trigger is put on pictures; None where no trigger is known."""
    return run.folder if run is not None and run.config.get("trigger") else None


def prompts(run: RunRecord | None, sample: Sample) -> dict[str, str]:
    """Return name -> text that a picture can be compared with: target, true class, caption."""
    data = cache.load_data(sample.data, sample.split, sample.size)
    texts = {}
    target = run.config.get("target_class") if run is not None else None
    if target:
        texts["The target class"] = data.templates[min(1, len(data.templates) - 1)].format(target)
    if sample.own_image is None:
        label = int(data.labels[sample.index])
        if label >= 0:
            texts["The true class"] = data.templates[min(1, len(data.templates) - 1)].format(data.class_names[label])
        texts["The caption"] = data.captions[sample.index]
    return texts


def choose_text(run: RunRecord | None, sample: Sample) -> str:
    """Draw the choice of the text that the picture is compared with; it can be changed."""
    texts = prompts(run, sample)
    kind = st.selectbox("Compare with", [*texts, "Your own text"], key="view.text.kind", **KEEP)
    start = texts.get(str(kind), "a photo of a dog")
    key = f"view.text.{kind}.{start}"
    return st.text_input("Text", start, key=key, max_chars=500, **KEEP).strip() or start


def show_provenance(stages: list[Stage]) -> None:
    """Say which runs the page shows."""
    models = ", ".join(f"{s.label.lower()} = {s.run_label}" for s in stages)
    st.caption(f"{escape_markdown(state.describe_selection())}. Models: {escape_markdown(models)}.")
