"""Pictures for pages: arrays for st.image, enlarged so that one sees what the model sees. No torch at import."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from cleaner.types import StepReport
from pages._shared.state import escape_markdown

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData

OWN_IMAGE = "own_picture"
Pixels = NDArray[np.uint8]


def enlarge(pixels: Pixels, side: int = 256) -> Pixels:
    """Return a picture whose every pixel is drawn as a square, so that a browser does not blur it."""
    factor = max(1, -(-side // pixels.shape[0]))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def decode_png(text: str) -> Pixels:
    """Return a small picture, given as PNG in base64, enlarged."""
    return enlarge(np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")))


def load_data_with_progress(name: str, split: str, size: int) -> CaptionData:
    """Return data whose pictures are ready, with a progress bar while they are drawn for the first time."""
    from pages._shared import cache

    place, waiting = st.empty(), [True]

    def show(report: StepReport) -> None:
        # The data outlive this page's run, and so does this callback.
        if waiting:
            doing = "Checking" if report.stage == "check pictures" else "Drawing"
            text = f"{doing} {report.total:,} pictures, once: about {report.eta:.0f} s left"
            place.progress(report.step / max(report.total, 1), text=text)

    with st.spinner("Getting the pictures ready …"):
        data = cache.load_data(name, split, size, show)
        data.images([0])
    waiting.clear()
    place.empty()
    return data


def gallery(data: CaptionData, indices: list[int], trigger: Any, own_image: tuple[str, bytes] | None) -> list[Any]:
    """Return the shown pictures (`cleaner.data.images.ImageComparison`): the user's own one first, if there is one."""
    from cleaner.data.images import compare_triggered, decode_tensor

    rows = compare_triggered(data.images(indices), trigger)
    if own_image is not None:
        name, content = own_image
        rows = compare_triggered(decode_tensor(content, data.image_size, name)[None], trigger) + rows
    return rows


def show_upload_box(label: str = "Try the trigger on a picture of your own") -> None:
    """Draw the box for the session's own picture; it is kept under `OWN`, also across page switches."""
    st.file_uploader(
        label,
        ["png", "jpg", "jpeg", "webp"],
        key="upload",
        max_upload_size=50,
        on_change=_keep_upload,
        help="Its middle square is resized to the pictures' size. It stays on this machine.",
    )
    own = st.session_state.get(OWN_IMAGE)
    if own is not None:
        st.button(f"Remove {escape_markdown(own[0][:40])}", icon=":material/close:", on_click=_drop_upload)


def _keep_upload() -> None:
    file = st.session_state.get("upload")
    if file is not None:
        st.session_state[OWN_IMAGE] = (file.name, file.getvalue())


def _drop_upload() -> None:
    st.session_state.pop(OWN_IMAGE, None)
