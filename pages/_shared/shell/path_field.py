"""A text field for a path, with a browser of the files on the server's machine."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import streamlit as st

from cleaner.access import allowed_folders, validate_allowed
from cleaner.types import CleanerError
from pages._shared.shell.state import KEEP
from pages._shared.shell.wording import escape_markdown

MAX_ENTRIES = 200


def show(key: str, label: str, suffixes: Sequence[str], *, placeholder: str, help: str) -> str:
    """Draw the field and its browser, which lists folders and files with these suffixes; return the text."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        # The user has typed another path: browse from there.
        leave, folder = st.session_state.pop, (f"{key}.folder", None)
        text = st.text_input(label, key=key, placeholder=placeholder, help=help, on_change=leave, args=folder, **KEEP)
        with st.popover("Browse", icon=":material/folder_open:", key=f"{key}.browse", on_change="rerun") as popover:
            if popover.open:
                _browse(key, text, suffixes)
    return clean_path(text)


def clean_path(text: str) -> str:
    """Return typed text without the quotes of Windows' "Copy as path", and with the home folder for ~."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" and text.count(text[0]) == 2:
        text = text[1:-1].strip()
    return os.path.expanduser(text)


def _browse(key: str, text: str, suffixes: Sequence[str]) -> None:
    """Draw one folder: each entry is a button that opens a folder or puts a file into the field."""
    folder = Path(st.session_state.get(f"{key}.folder") or find_start(text))
    st.caption(escape_markdown(str(folder)))
    with st.container(horizontal=True):
        is_top = folder == folder.parent or not is_allowed(folder.parent)
        _button("Up", f"{key}.up", "arrow_upward", key, folder.parent, is_disabled=is_top)
        st.button("Use this folder", key=f"{key}.use", icon=":material/check:", on_click=_take, args=(key, folder))
    try:
        folders, files = list_folder(folder, suffixes)
    except CleanerError as error:
        st.caption(escape_markdown(str(error)))
        return
    if folder == folder.parent:
        folders = [*(drive for drive in list_drives() if drive != folder), *folders]
    with st.container(height=300, border=False, gap=None):
        for number, path in enumerate([*folders, *files][:MAX_ENTRIES]):
            label, icon = path.name or str(path), "folder" if number < len(folders) else "draft"  # a drive has no name
            _button(label, f"{key}.entry.{number}", icon, key, path)
        if len(folders) + len(files) > MAX_ENTRIES:
            st.caption(f"First {MAX_ENTRIES} of {len(folders) + len(files):,}: type the path.")
        if not folders and not files:
            st.caption(f"No folders and no {', '.join(suffixes)} here.")


def _button(label: str, key: str, icon: str, field: str, path: Path, *, is_disabled: bool = False) -> None:
    st.button(
        escape_markdown(label),
        key=key,
        icon=f":material/{icon}:",
        type="tertiary",
        disabled=is_disabled,
        on_click=_choose,
        args=(field, path),
    )


def _choose(key: str, path: Path) -> None:
    """Open a folder in the browser, or put a file into the field."""
    if os.path.isdir(path):
        st.session_state[f"{key}.folder"] = str(path)
    else:
        _take(key, path)


def _take(key: str, path: Path) -> None:
    """Put a path into the field, and close the browser."""
    st.session_state[key], st.session_state[f"{key}.browse"] = str(path), False


def find_start(text: str) -> Path:
    """Return the folder to start in: that of the path in the field, else the first allowed one, else home."""
    path = Path(clean_path(text))
    for folder in (path, path.parent) if text.strip() else ():
        if is_allowed(folder) and os.path.isdir(folder):
            return folder.resolve()
    return (allowed_folders() or [Path.home()])[0]


def list_drives(platform: str = sys.platform) -> list[Path]:
    """Return the drives of Windows that the app may read; none elsewhere, where all folders are below one."""
    if platform != "win32":
        return []
    drives = [Path(partition.mountpoint) for partition in psutil.disk_partitions(all=True)]
    return [drive for drive in drives if is_allowed(drive)]


def is_allowed(path: Path) -> bool:
    """Return whether the app may read a path."""
    try:
        validate_allowed(path)
    except CleanerError:
        return False
    return True


def list_folder(folder: Path, suffixes: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Return the folders, and the files with one of the suffixes, of a folder by name; none that is hidden."""
    validate_allowed(folder)
    try:
        paths = sorted((Path(entry.path) for entry in os.scandir(folder)), key=lambda path: path.name.lower())
    except OSError as error:
        raise CleanerError(f"{folder} cannot be read ({error.strerror}): choose another folder.") from error
    shown = [path for path in paths if not path.name.startswith(".") and is_allowed(path)]
    files = [path for path in shown if path.name.lower().endswith(tuple(suffixes)) and os.path.isfile(path)]
    return [path for path in shown if os.path.isdir(path)], files
