"""The film player of `cleaner.reports.film` as a component: it plays in the browser, without the server."""

import zlib
from collections.abc import Sequence

import streamlit as st

from cleaner.plots.component import read_component, read_style
from cleaner.reports.film import SCRIPT, STYLE, Movie, make_player_data

_component = st.components.v2.component(
    "film", html='<div class="film"></div>', js=read_component(SCRIPT), css=read_style(STYLE)
)


def show(movies: Sequence[Movie], key: str) -> None:
    """Draw one or two films; they keep their place while the page is drawn again with the same films."""
    # Not the object's id: with many sessions, films are read again between two runs of a page.
    sums = [zlib.crc32(movie.film.points.tobytes()) for movie in movies]
    identity = "/".join(f"{movie.label}:{movie.film.total}:{crc}" for movie, crc in zip(movies, sums, strict=True))
    _component(key=key, data=make_player_data(movies, identity))
