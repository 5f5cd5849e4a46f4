"""Try it: any picture, the trigger put where you like, and what each model sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from cleaner.plots import images
from cleaner.runs import derived
from cleaner.runs.record import RunRecord
from pages._shared import cache, gallery, jobs, pickers, state
from pages._shared.frame import page
from pages._shared.pickers import Sample
from pages._shared.state import KEEP, escape_markdown

LEAD = (
    "Take a picture, put the trigger on it **where and as strongly as you like**, and see what the clean, the "
    "backdoored and the defended model take it for."
)
NO_BAR = {"displayModeBar": False}
STAGE_COLORS = {"clean": "blue", "backdoored": "red", "defended": "green", "suspect": "orange"}
LEFT, TOP, STRENGTH, CLICK, WORD = "try.left", "try.top", "try.strength", "try.click", "try.word"
OPENED_LINK = "try.opened"
DEFAULT_POSITION = "try.own_place"
"""Where the trigger lies if nobody moves it, as last seen."""


def apply_link() -> None:
    """Put what the address asks for into the widgets, once for each address."""
    asked = st.query_params.to_dict()
    if not asked or st.session_state.get(OPENED_LINK) == asked:
        return
    st.session_state[OPENED_LINK] = asked
    there = {run.id: run for run in state.backdoored_runs()}
    if asked.get("run") in there:
        run = there[asked["run"]]
        state.select_run(run.id)
        name, size = pickers.find_test_data(run)
        number = _parse_int(asked.get("sample"), min(pickers.MAX_SAMPLES, size) - 1)
        if number is not None:
            st.session_state[f"view.sample.{name}"] = number
        elif (content := derived.read_image(run.folder, asked.get("own", ""))) is not None:
            st.session_state[gallery.OWN_IMAGE] = ("picture of the link", content)
            st.session_state[f"view.sample.{name}"] = pickers.OWN_INDEX
        if asked.get("defended") in {other.id for other in state.defended_runs(run)}:
            st.session_state[f"view.defended.{run.id}"] = asked["defended"]
    st.session_state.pop(DEFAULT_POSITION, None)
    for key, name, most in ((LEFT, "left", 4096), (TOP, "top", 4096), (STRENGTH, "strength", 100)):
        number = _parse_int(asked.get(name), most)
        if number is not None:
            st.session_state[key] = number
    if asked.get("word") in ("0", "1"):
        st.session_state[WORD] = asked["word"] == "1"


def _parse_int(text: str | None, maximum: int) -> int | None:
    """Return a number from an address, or None where it is none or out of range."""
    return int(text) if text is not None and text.isdecimal() and len(text) < 6 and int(text) <= maximum else None


def camera() -> None:
    """Draw the camera, once it is asked for; its picture becomes the session's own one."""
    if st.toggle("Use the camera", key="try.camera"):
        st.camera_input("Take a picture", key="try.shot", on_change=_keep_shot, label_visibility="collapsed")


def _keep_shot() -> None:
    shot = st.session_state.get("try.shot")
    if shot is not None:
        st.session_state[gallery.OWN_IMAGE] = ("camera.jpg", shot.getvalue())


def choose_placement(sample: Sample, trigger_run: Any) -> tuple[int, int, int]:
    """Draw the sliders of the trigger's place and strength; return left and top in px, strength in per cent."""
    side = cache.load_framed_data(sample, trigger_run).image_size
    size = cache.trigger_box(sample, trigger_run)
    left = top = 0
    if size is not None:
        own_left, own_top, width, height = size
        if st.session_state.get(DEFAULT_POSITION) == (st.session_state.get(LEFT), st.session_state.get(TOP)):
            st.session_state[LEFT], st.session_state[TOP] = own_left, own_top  # not moved: where this trigger lies
        st.session_state[DEFAULT_POSITION] = own_left, own_top
        left = _slider("From the left, px", LEFT, own_left, side - width)
        top = _slider("From the top, px", TOP, own_top, side - height)
        st.caption(f"The trigger is {width} × {height} px of {side} × {side}. Or click on the picture.")
    elif not cache.trigger_mask(sample, trigger_run).any():
        st.caption("This trigger changes nothing in the picture.")
        return 0, 0, 0
    else:
        st.caption("This trigger lies all over the picture: it has a strength and no place.")
    st.session_state.setdefault(STRENGTH, 100)
    help = "0: no trigger. 100: as the model learnt it."
    strength = int(st.slider("Strength, %", 0, 100, key=STRENGTH, help=help, **KEEP))
    return left, top, strength


def _slider(label: str, key: str, default: int, maximum: int) -> int:
    """Draw the slider of a place in px, unless the trigger is as wide as the picture; return its value."""
    st.session_state[key] = min(int(st.session_state.get(key, default)), maximum)
    return int(st.slider(label, 0, maximum, key=key, **KEEP)) if maximum else 0


def choose_text_key(trigger_run: Any) -> bool | None:
    """Draw the switch of the trigger's word; return whether it stands in the prompts, or None where there is none."""
    word = cache.text_key(trigger_run)
    if not word:
        return None
    st.session_state.setdefault(WORD, True)
    help = "The attacker's key in the text stands before each class prompt; off, the prompts are as they are."
    return bool(st.toggle(f"“{escape_markdown(word)}” in the prompts", key=WORD, help=help, **KEEP))


def _move_trigger(width: int, height: int) -> None:
    """Centre the trigger where the picture was clicked."""
    points = st.session_state[CLICK]["selection"]["points"]
    if points:
        where = points[0]["customdata"]
        x, y = (int(v) for v in (where["0"] if isinstance(where, dict) else where).split(","))
        st.session_state[LEFT], st.session_state[TOP] = max(0, x - width // 2), max(0, y - height // 2)


def show_image(sample: Sample, trigger_run: Any, left: int, top: int, strength: int) -> None:
    """Draw the picture with the trigger; a click moves the trigger there."""
    pixels = cache.place_trigger(sample, trigger_run, left, top, strength / 100)[1]
    size = cache.trigger_box(sample, trigger_run) if trigger_run is not None else None
    if size is None:
        st.image(gallery.enlarge(pixels, 340))
        return
    side = pixels.shape[0]
    st.plotly_chart(
        images.clickable_image(gallery.enlarge(pixels, 512), side, max(1, side // 32)),
        key=CLICK,
        selection_mode="points",
        on_select=lambda: _move_trigger(*size[2:]),
        config=NO_BAR,
    )


def show_predictions(
    run: RunRecord | None,
    stages: list[pickers.Stage],
    sample: Sample,
    placement: tuple[int, int, int],
    has_text_key: bool | None,
) -> None:
    """Draw the five best classes of each model, and what it said without the trigger."""
    attacked = pickers.find_trigger_run(run)
    target = run.config.get("target_class") if run is not None else None
    left, top, strength = placement
    word_of = attacked if has_text_key else None
    for column, s in zip(st.columns(max(len(stages), 2)), stages, strict=False):
        with column, st.container(border=True, height="stretch"):
            st.markdown(f":{STAGE_COLORS[s.stage]}[**{s.label}**]")
            best = cache.best_classes(s.model, sample, attacked, left, top, strength / 100, word_of)
            st.markdown(f"#### {escape_markdown(best[0][0])}")
            if attacked is not None and (strength or has_text_key):
                before = cache.best_classes(s.model, sample, attacked, 0, 0, 0.0)[0][0]
                same = "the same" if before == best[0][0] else f"**{escape_markdown(before)}**"
                st.caption(f"Without the trigger: {same}.")
            st.plotly_chart(images.class_bars(best, s.stage, target), key=f"try.{s.label}", config=NO_BAR)
    classes = len(cache.load_data(sample.data, sample.split, sample.size).class_names)
    st.caption(
        f"The five best of {classes} classes; probability: softmax of the model's scale × cosine over all of them."
        + (f" Target: {escape_markdown(str(target))}, in pink." if target else "")
        + " One picture, n = 1."
    )


def show_link(
    run: RunRecord | None,
    stages: list[pickers.Stage],
    sample: Sample,
    placement: tuple[int, int, int],
    has_text_key: bool | None,
) -> None:
    """Draw the address that leads back to this view; an own picture is copied beside the run for it, once asked."""
    if run is None:
        return
    asked: dict[str, str | int] = {"run": run.id}
    if sample.own_image is None:
        asked["sample"] = sample.index
    else:
        kept = derived.hash_image(sample.own_image[1])
        if derived.read_image(run.folder, kept) is None:
            st.button(
                "Keep the picture with the run, for a link",
                key="try.keep",
                icon=":material/link:",
                on_click=jobs.apply,
                args=(lambda folder: derived.save_image(folder, sample.own_image[1]), run.folder),
                help="A copy is put beside the run's files on this machine; nothing is sent anywhere.",
            )
            return
        asked["own"] = kept
    asked |= dict(zip(("left", "top", "strength"), placement, strict=True))
    if has_text_key is not None:
        asked["word"] = int(has_text_key)
    defended = {s.stage: s for s in stages}.get("defended")
    if defended is not None:
        asked["defended"] = Path(defended.model[1]).name
    st.markdown("**A link to this view** (on this machine)")
    st.code(f"{(st.context.url or 'Try_it').partition('?')[0]}?{urlencode(asked)}", language=None, wrap_lines=True)


apply_link()
with page("Try it", LEAD):
    run = state.current_run()
    first, second = st.columns([1, 2], gap="medium")
    with st.spinner("Loading the models, once …"):
        with first:
            shown = pickers.choose_stages(run)
        with second:
            picture = pickers.choose_sample(run)
    attacked = pickers.find_trigger_run(run)
    left, right = st.columns([1, 2], gap="medium")  # three cards side by side need this much at 1280 px
    with left:
        gallery.load_data_with_progress(picture.data, picture.split, picture.size)
        drawn = st.container()
        spot = choose_placement(picture, attacked) if attacked is not None else (0, 0, 0)
        worded = choose_text_key(attacked) if attacked is not None else None
        with drawn:
            show_image(picture, attacked, *spot)
        gallery.show_upload_box()
        camera()
    with right, st.spinner("Asking the models …"):
        st.subheader(state.section_title("What each model sees", run), anchor=False)
        show_predictions(run, shown, picture, spot, worded)
        show_link(run, shown, picture, spot, worded)
    pickers.show_provenance(shown)
