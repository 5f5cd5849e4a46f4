"""Data that are downloaded on request: the size, the button that agrees to it, or a folder that has them already."""

import streamlit as st

from cleaner.labels import to_label
from cleaner.presets import HOME_DATA, home_data
from cleaner.runs.request import format_data, parse_data
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.runs.cancel import show_cancelable
from pages._shared.shell.frame import show_error
from pages._shared.shell.state import KEEP


def choose(key: str, name: str) -> str:
    """Draw how to get the data set `name`, unless it is here; return its name with the folder, or "" without one."""
    if cache.is_downloaded(name):
        return name
    megabytes = cache.downloads()[name]
    st.caption(f"{to_label(name)} are not on this machine yet. They come from their author's site.")
    if st.button(f"Download {megabytes} MB", key=f"{key}.download", icon=":material/download:"):
        try:
            # A page run without this click downloads nothing: there is nothing to remember.
            with show_cancelable(f"Downloading {megabytes} MB …", ("download", name), lambda: None) as on_step:
                cache.download(name, on_step)
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
    return format_data(f"{name}:{folder}", {}) if folder else ""


def show_home_data(model: str, data: str, key: str) -> None:
    """Draw which data a built-in model was trained on, and the button that sets them, if the chosen ones are others."""
    home = home_data(model)
    try:
        kind = parse_data(data)[0].partition(":")[0] if data else home
    except CleanerError:
        return  # who reads the data reports it
    if model in HOME_DATA and kind != home:
        st.caption(f"{model} was trained on {to_label(home)}.")
        change, values = st.session_state.update, {key: home}
        st.button("Use these data", key=f"{key}.home", on_click=change, args=(values,), width="stretch")
