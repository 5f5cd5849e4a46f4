"""Try it: any picture, the trigger put where you like, and what each model sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from cleaner.plots import images
from cleaner.runs import derived
from pages._shared import cache, gallery, state, view, work
from pages._shared.frame import page
from pages._shared.state import KEEP, Saved, plain
from pages._shared.view import Sample

LEAD = (
    "Take a picture, put the trigger on it **where and as strongly as you like**, and see what the clean, the "
    "backdoored and the defended model take it for."
)
NO_BAR = {"displayModeBar": False}
WORD_COLORS = {"clean": "blue", "backdoored": "red", "defended": "green", "suspect": "orange"}
LEFT, TOP, STRENGTH, CLICK, WORD = "try.left", "try.top", "try.strength", "try.click", "try.word"
OPENED = "try.opened"
OWN_PLACE = "try.own_place"
"""Where the trigger lies if nobody moves it, as last seen."""


def open_link() -> None:
    """Put what the address asks for into the widgets, once for each address."""
    asked = st.query_params.to_dict()
    if not asked or st.session_state.get(OPENED) == asked:
        return
    st.session_state[OPENED] = asked
    there = {run.id: run for run in state.backdoored_runs()}
    if asked.get("run") in there:
        run = there[asked["run"]]
        state.look_at(run.id)
        name, size = view.data_of(run)
        number = _whole(asked.get("sample"), min(view.SHOWN, size) - 1)
        if number is not None:
            st.session_state[f"view.sample.{name}"] = number
        elif (content := derived.read_image(run.folder, asked.get("own", ""))) is not None:
            st.session_state[gallery.OWN] = ("picture of the link", content)
            st.session_state[f"view.sample.{name}"] = view.OWN
        if asked.get("defended") in {other.id for other in state.defended_runs(run)}:
            st.session_state[f"view.defended.{run.id}"] = asked["defended"]
    st.session_state.pop(OWN_PLACE, None)
    for key, name, most in ((LEFT, "left", 4096), (TOP, "top", 4096), (STRENGTH, "strength", 100)):
        number = _whole(asked.get(name), most)
        if number is not None:
            st.session_state[key] = number
    if asked.get("word") in ("0", "1"):
        st.session_state[WORD] = asked["word"] == "1"


def _whole(text: str | None, most: int) -> int | None:
    """Return a number from an address, or None where it is none or out of range."""
    return int(text) if text is not None and text.isdecimal() and len(text) < 6 and int(text) <= most else None


def camera() -> None:
    """Draw the camera, once it is asked for; its picture becomes the session's own one."""
    if st.toggle("Use the camera", key="try.camera"):
        st.camera_input("Take a picture", key="try.shot", on_change=_keep_shot, label_visibility="collapsed")


def _keep_shot() -> None:
    shot = st.session_state.get("try.shot")
    if shot is not None:
        st.session_state[gallery.OWN] = ("camera.jpg", shot.getvalue())


def place(picture: Sample, attacked: Any) -> tuple[int, int, int]:
    """Draw the sliders of the trigger's place and strength; return left and top in px, strength in per cent."""
    side = cache.seen(picture, attacked).image_size
    size = cache.stamp(picture, attacked)
    left = top = 0
    if size is not None:
        own_left, own_top, width, height = size
        if st.session_state.get(OWN_PLACE) == (st.session_state.get(LEFT), st.session_state.get(TOP)):
            st.session_state[LEFT], st.session_state[TOP] = own_left, own_top  # not moved: where this trigger lies
        st.session_state[OWN_PLACE] = own_left, own_top
        left = _slider("From the left, px", LEFT, own_left, side - width)
        top = _slider("From the top, px", TOP, own_top, side - height)
        st.caption(f"The trigger is {width} × {height} px of {side} × {side}. Or click on the picture.")
    elif not cache.trigger_mask(picture, attacked).any():
        st.caption("This trigger changes nothing in the picture.")
        return 0, 0, 0
    else:
        st.caption("This trigger lies all over the picture: it has a strength and no place.")
    st.session_state.setdefault(STRENGTH, 100)
    help = "0: no trigger. 100: as the model learnt it."
    strength = int(st.slider("Strength, %", 0, 100, key=STRENGTH, help=help, **KEEP))
    return left, top, strength


def _slider(label: str, key: str, own: int, most: int) -> int:
    """Draw the slider of a place in px, unless the trigger is as wide as the picture; return its value."""
    st.session_state[key] = min(int(st.session_state.get(key, own)), most)
    return int(st.slider(label, 0, most, key=key, **KEEP)) if most else 0


def write_word(attacked: Any) -> bool | None:
    """Draw the switch of the trigger's word; return whether it stands in the prompts, or None where there is none."""
    word = cache.text_key(attacked)
    if not word:
        return None
    st.session_state.setdefault(WORD, True)
    help = "The attacker's key in the text stands before each class prompt; off, the prompts are as they are."
    return bool(st.toggle(f"“{plain(word)}” in the prompts", key=WORD, help=help, **KEEP))


def _clicked(width: int, height: int) -> None:
    """Centre the trigger where the picture was clicked."""
    points = st.session_state[CLICK]["selection"]["points"]
    if points:
        where = points[0]["customdata"]
        x, y = (int(v) for v in (where["0"] if isinstance(where, dict) else where).split(","))
        st.session_state[LEFT], st.session_state[TOP] = max(0, x - width // 2), max(0, y - height // 2)


def show_picture(picture: Sample, attacked: Any, left: int, top: int, strength: int) -> None:
    """Draw the picture with the trigger; a click moves the trigger there."""
    pixels = cache.placed(picture, attacked, left, top, strength / 100)[1]
    size = cache.stamp(picture, attacked) if attacked is not None else None
    if size is None:
        st.image(gallery.enlarged(pixels, 340))
        return
    side = pixels.shape[0]
    st.plotly_chart(
        images.clickable(gallery.enlarged(pixels, 512), side, max(1, side // 32)),
        key=CLICK,
        selection_mode="points",
        on_select=lambda: _clicked(*size[2:]),
        config=NO_BAR,
    )


def show_answers(
    run: Saved | None, shown: list[view.Stage], picture: Sample, spot: tuple[int, int, int], worded: bool | None
) -> None:
    """Draw the five best classes of each model, and what it said without the trigger."""
    attacked = view.attacked(run)
    target = run.config.get("target_class") if run is not None else None
    left, top, strength = spot
    word_of = attacked if worded else None
    for column, s in zip(st.columns(max(len(shown), 2)), shown, strict=False):
        with column, st.container(border=True, height="stretch"):
            st.markdown(f":{WORD_COLORS[s.stage]}[**{s.label}**]")
            best = cache.best_classes(s.model, picture, attacked, left, top, strength / 100, word_of)
            st.markdown(f"#### {plain(best[0][0])}")
            if attacked is not None and (strength or worded):
                before = cache.best_classes(s.model, picture, attacked, 0, 0, 0.0)[0][0]
                same = "the same" if before == best[0][0] else f"**{plain(before)}**"
                st.caption(f"Without the trigger: {same}.")
            st.plotly_chart(images.best_bars(best, s.stage, target), key=f"try.{s.label}", config=NO_BAR)
    classes = len(cache.data(picture.data, picture.split, picture.size).class_names)
    st.caption(
        f"The five best of {classes} classes; probability: softmax of the model's scale × cosine over all of them."
        + (f" Target: {plain(str(target))}, in pink." if target else "")
        + " One picture, n = 1."
    )


def show_link(
    run: Saved | None, shown: list[view.Stage], picture: Sample, spot: tuple[int, int, int], worded: bool | None
) -> None:
    """Draw the address that leads back to this view; an own picture is copied beside the run for it, once asked."""
    if run is None:
        return
    asked: dict[str, str | int] = {"run": run.id}
    if picture.own is None:
        asked["sample"] = picture.index
    else:
        kept = derived.hash_image(picture.own[1])
        if derived.read_image(run.folder, kept) is None:
            st.button(
                "Keep the picture with the run, for a link",
                key="try.keep",
                icon=":material/link:",
                on_click=work.act,
                args=(lambda folder: derived.save_image(folder, picture.own[1]), run.folder),
                help="A copy is put beside the run's files on this machine; nothing is sent anywhere.",
            )
            return
        asked["own"] = kept
    asked |= dict(zip(("left", "top", "strength"), spot, strict=True))
    if worded is not None:
        asked["word"] = int(worded)
    defended = {s.stage: s for s in shown}.get("defended")
    if defended is not None:
        asked["defended"] = Path(defended.model[1]).name
    st.markdown("**A link to this view** (on this machine)")
    st.code(f"{(st.context.url or 'Try_it').partition('?')[0]}?{urlencode(asked)}", language=None, wrap_lines=True)


open_link()
with page("Try it", LEAD):
    run = state.current_run()
    first, second = st.columns([1, 2], gap="medium")
    with st.spinner("Loading the models, once …"):
        with first:
            shown = view.stages(run)
        with second:
            picture = view.sample(run)
    attacked = view.attacked(run)
    left, right = st.columns([1, 2], gap="medium")  # three cards side by side need this much at 1280 px
    with left:
        gallery.drawn(picture.data, picture.split, picture.size)
        drawn = st.container()
        spot = place(picture, attacked) if attacked is not None else (0, 0, 0)
        worded = write_word(attacked) if attacked is not None else None
        with drawn:
            show_picture(picture, attacked, *spot)
        gallery.upload()
        camera()
    with right, st.spinner("Asking the models …"):
        st.subheader(state.titled("What each model sees", run), anchor=False)
        show_answers(run, shown, picture, spot, worded)
        show_link(run, shown, picture, spot, worded)
    view.provenance(shown)
