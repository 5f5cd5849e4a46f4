"""Data that are downloaded on request: the size, the button that agrees to it, or a folder that has them already."""

from __future__ import annotations

import streamlit as st

from cleaner.labels import to_label
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.frame import show_error
from pages._shared.state import KEEP


def choose(key: str, name: str) -> str:
    """Draw how to get the data set `name`, unless it is here; return its name with the folder, or "" without one."""
    if cache.is_downloaded(name):
        return name
    megabytes = cache.downloads()[name]
    st.caption(f"{to_label(name)} are not on this machine yet. Torchvision fetches them from their author's site.")
    if st.button(f"Download {megabytes} MB", key=f"{key}.download", icon=":material/download:"):
        try:
            with st.spinner(f"Downloading {megabytes} MB …"):
                cache.download(name)
        except CleanerError as error:
            show_error(error)
        else:
            st.rerun()
    folder = st.text_input(
        "Or their folder",
        key=f"{key}.folder",
        placeholder="/data/cifar10",
        help="A folder with torchvision's files, or with train.tar, test.tar and their tables of captions.",
        **KEEP,
    ).strip()
    return f"{name}:{folder}" if folder else ""
