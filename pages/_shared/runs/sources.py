"""Choose data and models: a built-in one by name, or files of the user by path or upload."""

import os

import streamlit as st

from cleaner.access import is_public, validate_built_in
from cleaner.labels import to_label
from cleaner.models.resolve import WEIGHT_SUFFIXES
from cleaner.runs.request import format_data, parse_data
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.shell import downloads, path_field, uploads
from pages._shared.shell.frame import show_error
from pages._shared.shell.state import KEEP

OWN_DATA, OWN_MODEL = "My files …", "My model …"
"""Options that stand for the path in the field below."""
DATA_TYPES = ["zip", "csv", "tsv", *uploads.IMAGE_TYPES]
"""File types that upload boxes accept as data."""
DATA_SUFFIXES = (".csv", ".tsv", ".parquet", ".arrow", ".tar", ".zip")


def choose_model(key: str, default: str) -> str:
    """Draw the choice of a built-in model or a path; return its name, or "" while the path is empty."""
    options = [*cache.models()] if is_public() else [*cache.models(), OWN_MODEL]
    start = options.index(default) if default in options else 0
    st.selectbox("Model", options, start, key=key, help="A built-in model, or one of yours.", **KEEP)
    if st.session_state[key] == OWN_MODEL:
        path_field.show(
            f"{key}.path",
            "Path of the model",
            WEIGHT_SUFFIXES,
            placeholder="/data/epoch_10.pt",
            help="A checkpoint, an open_clip folder, ARCHITECTURE:FILE, or ARCHITECTURE/TAG of open_clip to download. "
            "Code in a file is never run.",
        )
    return find_chosen_model(key, default)


def set_model(key: str, model: str) -> None:
    """Put a model, by name or path, into the widgets of `choose_model`; for button callbacks."""
    if model in cache.models():
        st.session_state[key] = model
    else:
        st.session_state[key], st.session_state[f"{key}.path"] = OWN_MODEL, model


def find_chosen_model(key: str, default: str) -> str:
    """Return what `choose_model` returned last, or `default` if it was not drawn yet."""
    choice = str(st.session_state.get(key, default))
    validate_built_in(choice, lambda: [*cache.models(), default])
    return path_field.clean_path(st.session_state.get(f"{key}.path", "")) if choice == OWN_MODEL else choice


def choose_data(key: str, purpose: str) -> str:
    """Draw the choice of data, "Images with captions" `purpose`; return name and options in a line, or ""."""
    names = cache.datasets() if is_public() else [*cache.datasets(), *cache.downloads()]
    start = names.index("scenes") if "scenes" in names else 0
    choice = str(
        st.selectbox(
            "Data",
            names if is_public() else [*names, OWN_DATA],
            start,
            format_func=lambda name: to_label(name) if name in cache.downloads() else name,
            key=key,
            help=f"Images with captions {purpose}: built-in ones, or yours.",
            **KEEP,
        )
    )
    validate_built_in(choice, lambda: names)
    if choice in cache.downloads():
        return downloads.choose(f"{key}.{choice}", choice)
    if choice != OWN_DATA:
        return choice
    path = path_field.show(
        f"{key}.path",
        "Path of the data",
        DATA_SUFFIXES,
        placeholder="/data/pairs.csv",
        help="A table with the columns filepath and title, a folder of images, a .tar or .zip, or hf:org/name. Options "
        "may follow, as in pairs.parquet image_column=png.",
    )
    classes = st.text_input(
        "Class names",
        key=f"{key}.classes",
        placeholder="cat, dog",
        help="Comma-separated; needed unless the table has a class column or the folder has one folder per class.",
        **KEEP,
    )
    with st.expander("Upload images", icon=":material/upload:", key=f"{key}.more"):
        st.file_uploader(
            "Zip, or images",
            DATA_TYPES,
            accept_multiple_files=True,
            key=f"{key}.upload",
            on_change=_keep_data,
            args=(key,),
            help="Stored on this machine. Images need a table (.csv or .tsv) with the columns filepath and title.",
        )
        if error := st.session_state.get(f"{key}.error"):
            show_error(error)
    return join_data(path, classes)


def set_data(key: str, data: str) -> None:
    """Put data, as `choose_data` returns them, into its widgets; for button callbacks."""
    if data in (*cache.datasets(), *cache.downloads()):
        st.session_state[key] = data
    else:
        st.session_state[key], st.session_state[f"{key}.path"] = OWN_DATA, data
        st.session_state[f"{key}.classes"] = ""  # the line names them


def join_data(path: str, classes: str) -> str:
    """Return a path, which options may follow, and class names in one line, as `parse_data` reads it."""
    names = ",".join(filter(None, (name.strip() for name in classes.split(","))))
    if not path or (not names and (os.path.exists(path) or "=" in path)):
        return path
    try:
        name, options = parse_data(path) if "=" in path else (path, {})
    except CleanerError:
        return path  # the page shows the error when it reads the data
    return format_data(name, options | ({"classes": names} if names else {}))


def _keep_data(key: str) -> None:
    """Store the uploaded files and put their path into the field."""
    files = st.session_state.get(f"{key}.upload")
    st.session_state[f"{key}.error"] = None
    if not files:
        return
    try:
        st.session_state[f"{key}.path"] = cache.save_uploads([(file.name, file.getvalue()) for file in files])
    except CleanerError as error:
        st.session_state[f"{key}.error"] = error
