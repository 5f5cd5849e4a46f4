"""A Cancel button for work that a page does itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import streamlit as st

from cleaner.types import OnStep
from pages._shared.shell.progress import show_progress

Work = tuple[str, ...]
"""Identifies some work of a page: its kind, which no other work of the same page has, then what it works on."""
CANCEL_ICON = ":material/cancel:"
_CANCELED = "cancel.canceled"


def is_canceled(work: Work) -> bool:
    """Return whether the user canceled this work; if so, draw a button that starts it again."""
    if work not in st.session_state.get(_CANCELED, ()):
        return False
    st.info("Canceled.", icon=CANCEL_ICON)
    icon = ":material/play_arrow:"
    st.button("Start again", key=f"cancel.restart.{work[0]}", icon=icon, on_click=allow_again, args=(work,))
    return True


def allow_again(work: Work) -> None:
    """Let canceled work start again, as its own start button does."""
    st.session_state.get(_CANCELED, set()).discard(work)


@contextmanager
def show_cancelable(message: str, work: Work, on_cancel: Callable[..., object] | None = None) -> Iterator[OnStep]:
    """Draw `show_progress` with a Cancel button, which ends the page run (`is_canceled`) unless `on_cancel`."""
    placeholder = st.empty()
    on_click: Callable[..., Any] = on_cancel or partial(_remember, work)
    placeholder.button("Cancel", key=f"cancel.go.{work[0]}", icon=CANCEL_ICON, on_click=on_click)
    try:
        with show_progress(message) as on_step:
            yield on_step
    finally:
        placeholder.empty()


def _remember(work: Work) -> None:
    st.session_state.setdefault(_CANCELED, set()).add(work)
