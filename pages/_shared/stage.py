"""Stage mode for lecturers: one picture and large figures; `?stage=1` or the switch in the menu."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st

from cleaner.labels import to_label
from cleaner.runs.record import RunRecord
from pages._shared import state
from pages._shared.state import escape_markdown, format_percent

PICTURES = {
    "Overview": '[data-testid="stPlotlyChart"]',
    "Poison": '[class*="st-key-gallery-row-"]',
    "Defend": ".st-key-pareto",
    "Compare": ".st-key-compare-pareto",
    "Embeddings": ":is(.st-key-embeddings-map, .st-key-embeddings-before_after)",
    "Attention": ":is(.st-key-attention-grid, .st-key-attention-before_after)",
    "Subtexts": ".st-key-similarity",
    "Film": ".st-key-film-player",
    "Try it": ":is(.st-key-try-picture, .st-key-try-predictions)",
}
"""Page -> selector of its main picture, without :has, which CSS does not nest; other pages show all their content."""
_ON, _GO = "stage.on", "stage.go"
_FOLDER = Path(__file__).parent
_CSS = (_FOLDER / "stage.css").read_text(encoding="utf-8")
_keys = st.components.v2.component("stage_keys", js=(_FOLDER / "stage.js").read_text(encoding="utf-8"))


def is_on() -> bool:
    """Return whether this session is in stage mode."""
    return bool(st.session_state.get(_ON))


def update(title: str, titles: Sequence[str], page_file: Callable[[str], str]) -> None:
    """Read the mode from the address, or write it there for a reload; go to the page that a key asked for."""
    if st.query_params.get("stage") == "1":
        st.session_state[_ON] = True
    elif is_on():
        st.query_params["stage"] = "1"
    move = {"next": 1, "previous": -1}.get(st.session_state.pop(_GO, ""))
    if is_on() and move is not None and title in titles:
        st.switch_page(page_file(titles[(titles.index(title) + move) % len(titles)]))


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
        icon=":material/slideshow:",
        on_click=start,
        help="One picture with large figures. Arrows change the page, space plays a film, Escape ends it.",
    )


def show_header(title: str) -> None:
    """Draw title and figures of the run in view and of its best defense; hide all but the page's main picture."""
    if picture := PICTURES.get(title):
        st.html(f"<style>{_CSS.replace('PICTURE', picture)}</style>")
    with st.container(key="stage"):
        left, right = st.columns([1, 3], vertical_alignment="center")
        left.header(title, anchor=False)
        with left:
            st.button("Exit", key="stage.exit", type="tertiary", icon=":material/close:", on_click=stop)
        with right:
            _show_figures(state.current_run())
        _keys(key="stage.keys", on_key_change=_press)


def _press() -> None:
    key = (st.session_state.get("stage.keys") or {}).get("key")
    if key == "exit":
        stop()
    elif key:
        st.session_state[_GO] = key


def _show_figures(run: RunRecord | None) -> None:
    if run is None:
        return
    shown = [("Backdoored", run)]
    measured = [other for other in state.defended_runs(run) if other.metric("asr") is not None]
    if measured:
        best = min(measured, key=lambda other: other.metric("asr") or 0.0)
        shown.append((to_label(best.defense or "defended").partition(",")[0], best))
    columns = iter(st.columns(2 * len(shown)))
    for label, record in shown:
        for name, word in (("asr", "attack success"), ("ca", "accuracy")):
            next(columns).metric(f"{escape_markdown(label)}: {word}", format_percent(record.metric(name), 0))
