"""The session's own image: uploaded or photographed, kept across pages."""

import streamlit as st

from cleaner.access import PUBLIC_UPLOAD_MB, is_public
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.shell.frame import show_error
from pages._shared.shell.wording import escape_markdown

OWN_IMAGE = "own_image"
"""Session key of the own image: (file name, content)."""
IS_NEW = "own_image.new"
"""Session key: whether the own image was just given, and the next page that shows one image is to show it."""
IMAGE_TYPES = ["png", "jpg", "jpeg", "webp"]
"""File types that upload boxes accept as images."""
MAX_UPLOAD_MB = PUBLIC_UPLOAD_MB if is_public() else 50
TAKEN = "uploads.taken"
"""Session key: number of images taken. Each empties the box, so that only the Remove button removes the image."""
_ERROR = "uploads.error"


def show_upload_box(label: str = "Upload an image") -> None:
    """Draw the upload box of the session's own image."""
    key = f"upload.{st.session_state.get(TAKEN, 0)}"
    st.file_uploader(
        label,
        IMAGE_TYPES,
        key=key,
        max_upload_size=MAX_UPLOAD_MB,
        on_change=keep_own_image,
        args=(key,),
        help="Its center square is resized; the server keeps it in memory while this page is open."
        if is_public()
        else "Its center square is resized; the file stays on this machine.",
    )
    if error := st.session_state.pop(_ERROR, None):
        show_error(error)
    own_image = st.session_state.get(OWN_IMAGE)
    if own_image is not None:
        st.button(
            f"Remove {escape_markdown(own_image[0][:40])}",
            key="upload.remove",
            icon=":material/close:",
            on_click=st.session_state.pop,
            args=(OWN_IMAGE, None),
        )


def keep_own_image(key: str, name: str | None = None) -> None:
    """Make the file of widget `key` the session's own image, under `name` or its file name, if it is an image."""
    file = st.session_state.get(key)
    if file is None:
        return
    name, content = name or file.name, file.getvalue()
    try:
        if len(content) > MAX_UPLOAD_MB * 2**20:  # the camera has no limit of its own
            raise CleanerError(f"{name} has {len(content) / 2**20:.0f} MB: at most {MAX_UPLOAD_MB} MB can be read.")
        cache.validate_image(content, name)
    except CleanerError as error:
        st.session_state[_ERROR] = error
    else:
        st.session_state[OWN_IMAGE], st.session_state[IS_NEW] = (name, content), True
        st.session_state[TAKEN] = st.session_state.get(TAKEN, 0) + 1
