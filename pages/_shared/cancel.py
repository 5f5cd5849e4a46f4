"""A Cancel button for work that a page does itself."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager

import streamlit as st

from cleaner.types import OnStep
from pages._shared.progress import show_progress

_CANCELED = "cancel.canceled"


def is_canceled(work: Hashable) -> bool:
    """Return whether the user canceled this work; if so, draw a button that starts it again."""
    if st.session_state.get(_CANCELED) != work:
        return False
    st.info("Canceled.", icon=":material/cancel:")
    st.button("Start again", key="cancel.restart", icon=":material/play_arrow:", on_click=_forget)
    return True


@contextmanager
def show_cancelable(message: str, work: Hashable) -> Iterator[OnStep]:
    """Draw `show_progress` with a Cancel button, which ends the page run; `is_canceled(work)` is then true."""
    placeholder = st.empty()
    placeholder.button("Cancel", key="cancel.go", icon=":material/cancel:", on_click=_remember, args=(work,))
    try:
        with show_progress(message) as on_step:
            yield on_step
    finally:
        placeholder.empty()


def _remember(work: Hashable) -> None:
    st.session_state[_CANCELED] = work


def _forget() -> None:
    st.session_state.pop(_CANCELED, None)
