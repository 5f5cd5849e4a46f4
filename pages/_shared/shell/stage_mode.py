"""Stage mode for lecturers: one picture and large figures; `?stage=1` or the switch in the menu."""

from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from cleaner.evaluation.result import METRICS, success_metric
from cleaner.plots.component import read_component
from cleaner.reports import talk
from cleaner.reports.verdict import find_best, find_excess_loss
from cleaner.runs.names import label_defenses
from cleaner.runs.record import RunRecord
from pages._shared.shell import menu, state
from pages._shared.shell.model_names import show_model_name
from pages._shared.shell.wording import escape_markdown, format_percent

DEFAULT_HEIGHT, HEADER_HEIGHT, NOTES_HEIGHT, MIN_HEIGHT, FONT_SIZE = 720, 200, 220, 280, 18
"""Pixels: window height until the browser reports it, heights of header and notes, least chart height, font size."""
ICON = ":material/slideshow:"
MOVES = {"next": 1, "previous": -1}
"""Key -> number of pages to go."""
_ON, _NOTES, _HEIGHT, _HANDLED = "stage.on", "stage.notes_on", "stage.height", "stage.handled"
_FOLDER = Path(__file__).parent
_CSS = (_FOLDER / "stage_mode.css").read_text(encoding="utf-8")
_keys = st.components.v2.component("stage_keys", js=read_component(_FOLDER / "stage_mode.js"))


def is_on() -> bool:
    """Return whether this session is in stage mode."""
    return bool(st.session_state.get(_ON))


def update() -> None:
    """Read the mode from the address."""
    if st.query_params.get("stage") == "1":
        st.session_state[_ON] = True


def start() -> None:
    """Turn stage mode on; a button callback."""
    st.session_state[_ON] = True


def stop() -> None:
    """Turn stage mode off; a button callback."""
    st.session_state[_ON] = False
    st.query_params.pop("stage", None)


def show_switch() -> None:
    """Draw the button that turns stage mode on."""
    st.button(
        "Stage mode",
        key="stage.start",
        type="tertiary",
        icon=ICON,
        on_click=start,
        help="One chart or image, large numbers. Arrows change the page, space plays a film, N shows notes, Escape "
        "ends it.",
    )


def show(title: str, picture: str) -> None:
    """Draw title, figures and notes; hide all but the page's main picture (see `frame.page`)."""
    if picture:
        st.html(f"<style>{_CSS.replace('PICTURE', picture)}</style>")
    run = state.current_run()
    with st.container(key="stage"):
        left, right = st.columns([1, 3], vertical_alignment="center")
        with left:
            st.header(title, anchor=False)
            with st.container(horizontal=True, gap="small"):
                st.button("Exit", key="stage.exit", type="tertiary", icon=":material/close:", on_click=stop)
                st.button(
                    "Notes", key="stage.notes", type="tertiary", icon=":material/speaker_notes:", on_click=_toggle_notes
                )
        with right:
            _show_figures(run)
        data = {"height": st.session_state.get(_HEIGHT, 0), "handled": st.session_state.get(_HANDLED, 0)}
        _keys(key="stage.keys", data=data, on_keys_change=partial(_press, title), on_height_change=_keep_height)
    if st.session_state.get(_NOTES):
        _show_notes(title, run)


def _press(title: str) -> None:
    """Handle the new keys on page `title`: "5 next next" are the fourth and fifth key of this window."""
    sent, *keys = str((st.session_state.get("stage.keys") or {}).get("keys") or "0").split()
    new = int(sent) - st.session_state.get(_HANDLED, 0)
    st.session_state[_HANDLED] = int(sent)
    order = [note.page for note in talk.write_notes(None, [])]
    place = start = order.index(title) if title in order else -1
    for key in keys[-new:] if new > 0 else ():
        if key == "exit":
            stop()
        elif key == "notes":
            _toggle_notes()
        elif is_on():  # the talk ends with its last page
            place = min(max(place + MOVES[key], 0), len(order) - 1)
    if place != start:
        st.switch_page(menu.page_file(order[place]))


def _keep_height() -> None:
    if height := (st.session_state.get("stage.keys") or {}).get("height"):
        st.session_state[_HEIGHT] = int(height)


def enlarge(figure: Any) -> Any:
    """Return a Plotly figure, in stage mode as high as the window has room for, with larger letters and marks."""
    if not is_on():
        return figure
    height = st.session_state.get(_HEIGHT, DEFAULT_HEIGHT) - HEADER_HEIGHT
    height -= NOTES_HEIGHT if st.session_state.get(_NOTES) else 0
    figure.update_layout(height=max(height, MIN_HEIGHT), font_size=FONT_SIZE)
    figure.update_xaxes(title_font_size=FONT_SIZE, tickfont_size=FONT_SIZE)
    figure.update_yaxes(title_font_size=FONT_SIZE, tickfont_size=FONT_SIZE)
    return figure.update_layout(legend_font_size=FONT_SIZE)


def explain_missing(reason: str) -> None:
    """Explain in stage mode why the page has no image."""
    if is_on():
        st.info(reason, icon=ICON)


def _toggle_notes() -> None:
    st.session_state[_NOTES] = not st.session_state.get(_NOTES)


def _show_notes(title: str, run: RunRecord | None) -> None:
    """Draw what to say about a page, at the bottom; the figures are those of the run in view."""
    note = talk.find_note(title, run, [] if run is None else state.defenses_of_run(run), escape_markdown)
    with st.bottom, st.container(key="notes"):
        if note is None:
            st.markdown("The talk has no notes for this page.")
            return
        st.markdown(f"**{title}** · {note.minutes}")
        st.markdown(note.text)


def _show_figures(run: RunRecord | None) -> None:
    if run is None:
        return
    shown = [("Backdoored", run)]
    if (best := find_best(run, state.defenses_of_run(run))) is not None:
        shown.append((label_defenses([best])[best.id], best))
    for column, (label, record) in zip(st.columns(len(shown)), shown, strict=True):
        with column:
            loss = find_excess_loss(run, record)
            show_model_name(label, record.kind, f"lost {100 * loss:.1f} points of accuracy" if loss else "")
            for place, name in zip(st.columns(2), (success_metric(run), "ca"), strict=True):
                with place, st.container(key=f"stage-{name}-{record.id}"):
                    st.metric(METRICS[name].label, format_percent(record.metric(name), 0))
