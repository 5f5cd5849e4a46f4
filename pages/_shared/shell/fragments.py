"""Fragments: parts of a page that rerun alone."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import ParamSpec

import streamlit as st

from cleaner.types import CleanerError
from pages._shared.shell.frame import show_error

P = ParamSpec("P")


def fragment(draw: Callable[P, None]) -> Callable[P, None]:
    """Make a function a fragment that shows a `CleanerError` as a message, as a page does.

    Streamlit draws its exception box for an error inside a fragment, before the page could catch it.
    """

    @st.fragment
    @wraps(draw)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            draw(*args, **kwargs)
        except CleanerError as error:
            show_error(error)

    return guarded


@fragment
def show_tabs(key: str, views: Mapping[str, Callable[[], None]]) -> None:
    """Draw tabs, label -> view, and only the open one: Plotly lays out closed ones for another width."""
    for tab, draw in zip(st.tabs(list(views), key=key, on_change="rerun"), views.values(), strict=True):
        if tab.open:
            with tab:
                draw()
