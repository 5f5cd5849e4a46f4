"""The progress of work that goes on when its page is left."""

import streamlit as st

from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.inspect.pixels import decode_png
from pages._shared.runs.cancel import CANCEL_ICON
from pages._shared.runs.ticker import tick
from pages._shared.shell.fragments import fragment
from pages._shared.shell.frame import show_error
from pages._shared.shell.progress import draw_bar


def show_work(work: cache.BackgroundWork, message: str, key: str, session: str = "") -> None:
    """Draw a work's progress for the session that waits, or why it ended without a result."""
    if work.is_awaited_by(session):
        _watch(work, message, key, session)
    elif work.is_canceled or session not in work.sessions:
        st.info("Canceled.", icon=CANCEL_ICON)
    elif isinstance(work.error, CleanerError):
        show_error(work.error)
    elif work.error is not None:
        raise work.error


@fragment
def _watch(work: cache.BackgroundWork, message: str, key: str, session: str) -> None:
    """Draw the progress with a Cancel button, again every two seconds; draw the page again when the work has ended."""
    if not work.is_awaited_by(session):
        st.rerun()
    st.button(
        "Cancel",
        key=f"{key}.cancel",
        icon=CANCEL_ICON,
        on_click=work.leave,
        args=(session,),
        disabled=work.is_stopping,
    )
    text = "Canceling …" if work.is_stopping else f"{message} It goes on when you leave this page."
    st.markdown(f":material/hourglass_top: {text}")
    if work.report is not None:
        draw_bar(st.empty(), work.report)
    if work.preview is not None:
        caption = f"Masked pattern and mask after step {work.preview.step:,}"
        st.image(decode_png(work.preview.picture), caption=caption, alt="Masked pattern, next to its mask")
    tick(f"{key}.tick")
