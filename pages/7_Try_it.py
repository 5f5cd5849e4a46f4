"""Try it: place the trigger on any image and see the predictions of each model."""

from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import streamlit as st

from cleaner.labels import format_count
from cleaner.plots import images
from cleaner.plots.styles import STAGE_COLORS, Style
from cleaner.runs import derived
from cleaner.runs.record import RunRecord
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.inspect import before_after, pickers, playground
from pages._shared.inspect.pickers import StageModel
from pages._shared.inspect.pixels import enlarge
from pages._shared.inspect.plotly_charts import NO_MODE_BAR
from pages._shared.inspect.sample import Placement, Sample
from pages._shared.runs import jobs
from pages._shared.runs.cancel import is_canceled, show_cancelable
from pages._shared.runs.run_buttons import show_playground_button
from pages._shared.shell import state, uploads, wording
from pages._shared.shell.frame import page
from pages._shared.shell.model_names import show_model_name
from pages._shared.shell.state import KEEP
from pages._shared.shell.wording import escape_markdown

LEAD = "Move and fade the trigger, and see the predictions of the clean, backdoored and defended model."
LEFT, TOP, STRENGTH, IMAGE, WORD = "try.left", "try.top", "try.strength", "try.image", "try.word"
APPLIED_LINK = "try.applied_link"
LINK_PARAMETERS = ("sample", "own", "left", "top", "strength", "word", "defended")
DEFAULT_POSITION = "try.default_position"
"""Session key of the trigger's own (left, top), as last drawn."""
PHOTO = "try.photo"
MAX_POSITION, FULL_STRENGTH = 4096, 100


def apply_link() -> None:
    """Set the widgets to the query parameters, once per link; the address of every page has further ones."""
    link = st.query_params.to_dict()
    placed = {name: link[name] for name in LINK_PARAMETERS if name in link}
    if not placed or st.session_state.get(APPLIED_LINK) == placed:
        return
    st.session_state[APPLIED_LINK] = placed
    runs = {run.id: run for run in state.backdoored_runs()}
    if link.get("run") in runs:
        _apply_run_link(runs[link["run"]], link)
    st.session_state.pop(DEFAULT_POSITION, None)
    limits = ((LEFT, "left", MAX_POSITION), (TOP, "top", MAX_POSITION), (STRENGTH, "strength", FULL_STRENGTH))
    for key, name, maximum in limits:
        number = _parse_int(link.get(name), maximum)
        if number is not None:
            st.session_state[key] = number
    if link.get("word") in ("0", "1"):
        st.session_state[WORD] = link["word"] == "1"


def _apply_run_link(run: RunRecord, link: dict[str, str]) -> None:
    """Select the run, image and defended model of a link."""
    state.select_run(run.id)
    data = pickers.find_test_data(run)
    sample_key = f"view.sample.{data.name}"
    index = _parse_int(link.get("sample"), min(pickers.MAX_SAMPLES, data.size or pickers.MAX_SAMPLES) - 1)
    if index is not None:
        st.session_state[sample_key] = index
    elif (content := derived.read_image(run.folder, link.get("own", ""))) is not None:
        st.session_state[uploads.OWN_IMAGE] = ("linked image", content)
        st.session_state[sample_key] = pickers.OWN_INDEX
    if link.get("defended") in {other.id for other in state.defended_runs(run)}:
        st.session_state[f"view.defended.{run.id}"] = link["defended"]


def _parse_int(text: str | None, maximum: int) -> int | None:
    """Parse a query parameter; return None unless it is an integer in 0..maximum."""
    return int(text) if text is not None and text.isdecimal() and len(text) < 6 and int(text) <= maximum else None


def show_camera() -> None:
    """Draw the camera on request; its photo becomes the session's own image."""
    if st.toggle("Camera", key="try.camera"):
        st.camera_input(
            "Take a photo",
            key=PHOTO,
            on_change=uploads.keep_own_image,
            args=(PHOTO, "camera.jpg"),
            label_visibility="collapsed",
        )


def choose_placement(sample: Sample, trigger_run: Path) -> Placement:
    """Draw the sliders of position and strength; return the placement."""
    side = cache.load_framed_data(sample, trigger_run).image_size
    box = cache.trigger_box(sample, trigger_run)
    left = top = 0
    if box is not None:
        default_left, default_top, width, height = box
        position = st.session_state.get(LEFT), st.session_state.get(TOP)
        if st.session_state.get(DEFAULT_POSITION) == position:  # not moved: follow the default of this trigger
            st.session_state[LEFT], st.session_state[TOP] = default_left, default_top
        st.session_state[DEFAULT_POSITION] = default_left, default_top
        left = _choose_position("Left, px", LEFT, default_left, side - width)
        top = _choose_position("Top, px", TOP, default_top, side - height)
        moved = max(abs(left - default_left), abs(top - default_top))
        note = f" Moved by {moved} px: a trigger that was trained in one place does less elsewhere." if moved else ""
        st.caption(f"Trigger {width} × {height} px, image {side} × {side} px.{note}")
    elif cache.trigger_mask(sample, trigger_run).any():
        st.caption("This trigger has no single place: only its strength can be changed.")
    else:
        st.caption("This trigger does not change the image.")
        return Placement()
    help = "0: no trigger; 100: as in training."
    strength = st.slider("Strength, %", 0, FULL_STRENGTH, FULL_STRENGTH, key=STRENGTH, help=help, **KEEP)
    return Placement(left, top, int(strength))


def _choose_position(label: str, key: str, default: int, maximum: int) -> int:
    """Draw a position slider in px, unless the trigger fills this dimension; return its value."""
    st.session_state[key] = min(int(st.session_state.get(key, default)), maximum)
    return int(st.slider(label, 0, maximum, key=key, **KEEP)) if maximum else 0


def choose_text_key(sample: Sample, trigger_run: Path) -> bool | None:
    """Draw the switch of the trigger's text key; return whether prompts contain it, None if it has none."""
    prompt = cache.keyed_prompt(trigger_run, sample.data)
    if not prompt:
        return None
    help = "Each class prompt gets the attacker's text key."
    label = f"Text key in the prompts: “{escape_markdown(prompt)}”"
    return bool(st.toggle(label, True, key=WORD, help=help, **KEEP))


def show_image(sample: Sample, trigger_run: Path | None, placement: Placement) -> None:
    """Draw the image under a slider without and with the trigger."""
    image = cache.place_trigger(sample, trigger_run, placement)[1]
    if trigger_run is None or not cache.trigger_mask(sample, trigger_run).any():
        st.image(enlarge(image, 340), alt="Chosen image")
        return
    clean = cache.place_trigger(sample, trigger_run, Placement())[1]
    before_after.show(
        IMAGE,
        ("Clean", "Triggered"),
        (Style(STAGE_COLORS["clean"], "circle"), Style(STAGE_COLORS["trigger"], "diamond")),
        [before_after.image_panel([clean], [image])],
        start=0.0,
    )


def show_predictions(
    run: RunRecord | None, stages: list[StageModel], sample: Sample, placement: Placement, has_text_key: bool | None
) -> None:
    """Draw the top five classes of each model, and its prediction without the trigger."""
    trigger_run = pickers.find_trigger_run(run)
    target = run.target_class if run is not None else None
    text_key_run = trigger_run if has_text_key else None
    for column, s in zip(st.columns(max(len(stages), 2)), stages, strict=False):
        with column, st.container(border=True, height="stretch"):
            show_model_name(s.label, s.kind)
            best = cache.best_classes(s.model, sample, trigger_run, placement, text_key_run)
            prediction = best[0][0]
            st.markdown(f"### {escape_markdown(prediction)}")
            if trigger_run is not None and (placement.strength or has_text_key):
                clean_prediction = cache.best_classes(s.model, sample, trigger_run, Placement())[0][0]
                is_same = clean_prediction == prediction
                st.caption(f"Without trigger: {'same' if is_same else f'**{escape_markdown(clean_prediction)}**'}")
            st.plotly_chart(images.class_bars(best, s.kind, target), key=f"try.{s.label}", config=NO_MODE_BAR)
    classes = len(cache.load_data(sample.data).class_names)
    target_note = f" Target, pink if among them: {escape_markdown(str(target))}." if target else ""
    st.caption(
        f"Top {min(5, classes)} of {format_count(classes, 'classes')}; probability: softmax of logit scale × cosine."
        f"{target_note} "
        "One image, n = 1."
    )


def make_link(run: RunRecord | None, stages: list[StageModel], sample: Sample) -> dict[str, str | int] | None:
    """Return the parameters of a link to this image and these models; an own image is first saved, on request."""
    if run is None:
        return None
    link: dict[str, str | int] = {"run": run.id}
    if sample.own_image is None:
        link["sample"] = sample.index
    else:
        content = sample.own_image[1]
        link["own"] = derived.hash_image(content)
        if derived.read_image(run.folder, str(link["own"])) is None:
            st.button(
                "Save for link",
                key="try.keep",
                icon=":material/link:",
                on_click=jobs.run_action,
                args=(partial(derived.save_image, run.folder, content),),
                help="Copies the image to the run's folder on this machine.",
            )
            return None
    defended = next((s for s in stages if s.stage == "defended"), None)
    return link if defended is None else link | {"defended": Path(defended.model[1]).name}


def show_link(
    link: dict[str, str | int], run: Path, sample: Sample, placement: Placement, has_text_key: bool | None
) -> None:
    """Draw the link to this view of the server."""
    if cache.trigger_box(sample, run) is not None:
        link |= {"left": placement.left, "top": placement.top}
    if cache.trigger_mask(sample, run).any():
        link["strength"] = placement.strength
    if has_text_key is not None:
        link["word"] = int(has_text_key)
    st.markdown("**Link to this view** (on this machine)")
    st.code(f"{(st.context.url or 'Try_it').partition('?')[0]}?{urlencode(link)}", language=None, wrap_lines=True)


def load_engine(run: RunRecord | None, stages: list[StageModel], sample: Sample) -> cache.Playground | None:
    """Return what the browser needs to run these models; None if only the server can."""
    if run is None or not playground.is_possible(run) or cache.keyed_prompt(run.folder, sample.data):
        return None
    chosen = {s.model[1] for s in stages if s.stage == "defended"}
    try:
        made = cache.make_playground(run, [other for other in state.defended_runs(run) if str(other.folder) in chosen])
    except CleanerError:
        return None
    return cache.show_sample(made, sample, run.folder) if len(made.page["models"]) == len(stages) else None


def show_engine(run: RunRecord, stages: list[StageModel], sample: Sample, engine: cache.Playground) -> None:
    """Draw image and predictions, which the browser computes."""
    st.markdown(f"## {wording.section_title('Predictions', run)}")
    link = make_link(run, stages, sample)
    with st.container(key="try-engine"):
        playground.show("try.engine", engine, f"?{urlencode(link)}" if link else "")
    classes = format_count(len(engine.page["classes"]), "classes")
    target = escape_markdown(str(run.target_class))
    st.caption(f"Bars: probability among {classes}. ⚑ the target, {target}; ✓ the true class. One image, n = 1.")
    left, right = st.columns([1, 2], gap="medium")
    with left:
        uploads.show_upload_box()
    with right:
        show_camera()
        show_playground_button(run, "try.playground")


def show_server(run: RunRecord | None, stages: list[StageModel], sample: Sample) -> None:
    """Draw image, sliders and predictions, which the server computes."""
    trigger_run = pickers.find_trigger_run(run)
    left, right = st.columns([1, 2], gap="medium")  # fits three cards at 1280 px
    with left:
        image_container = st.container(key="try-picture")
        placement = choose_placement(sample, trigger_run) if trigger_run is not None else Placement()
        has_text_key = choose_text_key(sample, trigger_run) if trigger_run is not None else None
        with image_container:
            show_image(sample, trigger_run, placement)
        uploads.show_upload_box()
        show_camera()
        if run is not None:
            show_playground_button(run, "try.playground")
    with right:
        st.markdown(f"## {wording.section_title('Predictions', run)}")
        text_key_run = trigger_run if has_text_key else None
        work = ("predictions", str([s.model for s in stages]), str(sample.data), str(text_key_run))
        if not is_canceled(work):
            with show_cancelable("Computing predictions …", work) as on_step:
                for stage in stages:
                    for key_run in dict.fromkeys((text_key_run, None)):  # None: for “Without trigger”
                        cache.build_classifier(stage.model, sample.data, key_run, on_step)
            with st.container(key="try-predictions"):
                show_predictions(run, stages, sample, placement, has_text_key)
        if (link := make_link(run, stages, sample)) is not None and trigger_run is not None:
            show_link(link, trigger_run, sample, placement, has_text_key)


with page(
    "Try it",
    LEAD,
    picture=":is(.st-key-try-engine, .st-key-try-picture, .st-key-try-predictions)",
    prepare=apply_link,
):
    run = state.current_run()
    left, right = st.columns([1, 2], gap="medium")
    with st.spinner("Loading models …"):
        with left:
            stages = pickers.drop_missing_clean_model(pickers.choose_stages(run))
        with right:
            sample = pickers.choose_sample(run)
        engine = load_engine(run, stages, sample)
    if run is not None and engine is not None:
        show_engine(run, stages, sample, engine)
    else:
        show_server(run, stages, sample)
    pickers.show_provenance(stages)
