"""Choose what the inspection pages show: models, one image, its trigger, a text."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import streamlit as st

from cleaner.labels import format_count
from cleaner.models.resolve import resolve_model_name
from cleaner.presets import home_data
from cleaner.runs.names import label_trainings, number_equal_beginnings
from cleaner.runs.record import RunRecord
from cleaner.runs.request import TEST_SIZE, format_data, parse_data
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.inspect.sample import DataKey, ModelKey, Sample, format_prompt
from pages._shared.runs import job_requests
from pages._shared.shell import downloads, state, times, uploads
from pages._shared.shell.frame import defend_button
from pages._shared.shell.progress import load_data_with_progress
from pages._shared.shell.state import KEEP
from pages._shared.shell.wording import escape_markdown

LabelVisibility = Literal["visible", "hidden", "collapsed"]
MAX_SAMPLES = 300
MAX_TEXT_LENGTH = 500
OWN_INDEX = -1
"""Option of the image box that stands for the session's own image."""
MAX_COMPARED_DEFENSES = 3


@dataclass(frozen=True, kw_only=True)
class StageModel:
    """One model to show."""

    label: str
    stage: str
    """"clean", "backdoored", "suspect" or "defended"."""
    model: ModelKey
    run_label: str
    """Name of its run, or of the model itself."""
    defense: str = ""

    @property
    def kind(self) -> str:
        """What decides color and mark (`plots.styles`): the defense, else the stage."""
        return self.defense or self.stage


def choose_stages(run: RunRecord | None, label_visibility: LabelVisibility = "visible") -> list[StageModel]:
    """Draw the choice of one defended model; return the models in the order clean, backdoored, defended."""
    stages, defended, suspect = _find_stages(run)
    if not defended:
        st.caption("No defended model yet.")
        defend_button("Train one", "view.defend")
        return stages
    runs, labels = {other.id: other for other in defended}, label_trainings(defended, times.created_at)
    key = f"view.defended.{suspect}"
    if key in st.session_state:  # a new run can change the label of this one: tell the browser, which sends labels back
        st.session_state[key] = st.session_state[key]
    run_id = st.selectbox(
        "Defended model",
        list(runs),
        format_func=number_equal_beginnings(labels).__getitem__,
        key=key,
        label_visibility=label_visibility,
        **KEEP,
    )
    return [*stages, _make_defended_stage("Defended", runs[run_id], labels[run_id])]


def choose_compared_stages(run: RunRecord | None) -> list[StageModel]:
    """Draw the choice of several defended models; return all models, each under its own label."""
    stages, defended, suspect = _find_stages(run)
    runs, labels = {other.id: other for other in defended}, label_trainings(defended, times.created_at)
    key = f"subtexts.runs.{suspect}"
    state.follow_default(key, runs, list(runs)[:2])
    run_ids = st.multiselect(
        "Defended models",
        list(runs),
        max_selections=MAX_COMPARED_DEFENSES,
        format_func=labels.__getitem__,
        key=key,
        placeholder="Choose" if runs else "None yet: train one on the Defend page",
        label_visibility="collapsed",
        **KEEP,
    )
    return stages + [_make_defended_stage(labels[run_id], runs[run_id], labels[run_id]) for run_id in run_ids]


def drop_missing_clean_model(stages: list[StageModel]) -> list[StageModel]:
    """Return the stages without the clean model of a run if that cannot be loaded; then say so."""
    clean = stages[0]
    if clean.model[0] != "clean" or cache.is_loadable(clean.model):
        return stages
    name = escape_markdown(clean.run_label)
    st.caption(f":material/warning: The clean model {name} is not on this machine or has changed: restore its file.")
    return stages[1:]


def _find_stages(run: RunRecord | None) -> tuple[list[StageModel], list[RunRecord], str]:
    """Return the models before a defense, the defended runs, and the id of the run or model that they started from."""
    if run is not None:
        stages = [
            StageModel(
                label="Backdoored", stage="backdoored", model=("run", str(run.folder)), run_label="the run in view"
            )
        ]
        if run.clean_model:
            stages.insert(
                0, StageModel(label="Clean", stage="clean", model=("clean", str(run.folder)), run_label=run.model)
            )
        return stages, state.defended_runs(run), run.id
    model = state.current_model()
    if model is None:
        raise CleanerError("No model weights found: run python -m cleaner pretrain.")
    stage = "clean" if state.is_built_in(model) else "suspect"
    return (
        [StageModel(label=stage.capitalize(), stage=stage, model=cache.make_model_key(model), run_label=model)],
        list_model_defenses(model),
        model,
    )


def list_model_defenses(model: str) -> list[RunRecord]:
    """Return the defenses of a model without a run, newest first; say how many started from other weights."""
    defended = state.defenses_of_model(model)
    weights = cache.hash_weights(model) if defended else ""
    current = [run for run in defended if not weights or run.config.get("model_sha256") in (None, weights)]
    if hidden := len(defended) - len(current):
        count = format_count(hidden, "defenses")
        st.caption(f":material/warning: {count} started from an earlier version of this file: see Compare.")
    return current


def _make_defended_stage(label: str, run: RunRecord, run_label: str) -> StageModel:
    cache.load_run(run.folder)  # clears what was computed from an older run in this folder
    return StageModel(
        label=label, stage="defended", model=("run", str(run.folder)), run_label=run_label, defense=run.kind
    )


def find_test_data(run: RunRecord | None) -> DataKey:
    """Return the test split of the run or model in view."""
    if run is not None:
        return job_requests.read_test_data(run)
    model = state.current_model() or ""
    opened = st.session_state.get(state.OPENED_MODELS, [])
    names = [external.data for external in opened if resolve_model_name(external.model) == model][-1:]
    names += [job_requests.read_test_data(other).name for other in state.defenses_of_model(model)]
    return DataKey([*names, home_data(model)][0], "test", TEST_SIZE)


def require_data(key: DataKey) -> DataKey:
    """Return the data, from the folder that the user gave if they are not here; without one, offer their download."""
    name, options = parse_data(key.name)
    if name not in cache.downloads():
        return key
    if not (found := downloads.choose(f"view.{name}", name)):
        st.stop()
    return replace(key, name=format_data(parse_data(found)[0], options))


def selected_model_key() -> ModelKey | None:
    """Return the key of the model in view, or None if a run is in view."""
    model = state.current_model()
    return None if model is None else cache.make_model_key(model)


def choose_sample(run: RunRecord | None) -> Sample:
    """Draw the choice of a test image or the own image; all pages share the choice."""
    data_key = require_data(find_test_data(run))
    data = load_data_with_progress(data_key)
    own_image = st.session_state.get(uploads.OWN_IMAGE)
    options = [*([OWN_INDEX] if own_image else []), *range(min(MAX_SAMPLES, len(data)))]

    def label_option(index: int) -> str:
        return f"Own image: {own_image[0]}" if index == OWN_INDEX and own_image else f"{index} · {data.captions[index]}"

    key = f"view.sample.{data_key.name}"
    if st.session_state.pop(uploads.IS_NEW, False) and own_image:
        st.session_state[key] = OWN_INDEX
    if st.session_state.get(key) not in options:
        st.session_state[key] = options[0]  # not removed: the browser would keep showing what it had
    index = int(st.selectbox("Image", options, format_func=label_option, key=key, help="Type to search.", **KEEP))
    return Sample(data_key, index, own_image if index == OWN_INDEX else None, selected_model_key())


def find_trigger_run(run: RunRecord | None) -> Path | None:
    """Return the folder of the run whose trigger is shown, or None if no trigger is known."""
    return run.folder if run is not None and run.attack else None


def list_texts(run: RunRecord | None, sample: Sample) -> dict[str, str]:
    """Return label -> text to compare an image with: target class, true class, caption."""
    data = cache.load_data(sample.data)
    texts = {}
    target = run.target_class if run is not None else None
    if target:
        texts["The target class"] = format_prompt(data.templates, target)
    if sample.own_image is None:
        label = int(data.labels[sample.index])
        if label >= 0:
            texts["The true class"] = format_prompt(data.templates, data.class_names[label])
        texts["The caption"] = data.captions[sample.index]
    return texts


def choose_text(run: RunRecord | None, sample: Sample) -> str:
    """Draw the choice of the text to compare the image with, which can be edited; return it."""
    texts = list_texts(run, sample)
    kind = st.selectbox("Compare with", [*texts, "Your own text"], key="view.text.kind", **KEEP)
    default = texts.get(str(kind), "a photo of a dog")
    key = f"view.text.{kind}.{default}"
    text: str = st.text_input("Text", default, key=key, **KEEP).strip()
    if not text:
        raise CleanerError("The text is empty: enter one.")
    if len(text) > MAX_TEXT_LENGTH:
        raise CleanerError(f"The text has {len(text):,} characters: shorten it to {MAX_TEXT_LENGTH:,}.")
    return text


def show_provenance(stages: list[StageModel]) -> None:
    """Draw the names of the runs and models shown."""
    models = ", ".join(f"{stage.label.lower()} = {stage.run_label}" for stage in stages)
    st.caption(f"{escape_markdown(state.describe_selection())}. Models: {escape_markdown(models)}.")
