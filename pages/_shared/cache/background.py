"""Loading what is heavy: one thread at a time, in the background after the first paint."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.runtime.scriptrunner import add_script_run_ctx, get_script_run_ctx

if TYPE_CHECKING:
    from cleaner.types import OnStep, StepReport

PAINT_SECONDS = 2.0
_import_lock = threading.RLock()
"""Two threads that import torch and torchvision at the same time can block each other (`_DeadlockError`)."""


def import_library() -> None:
    """Import what the pages need; one thread at a time, the others wait for it. Costs nothing from then on."""
    with _import_lock:
        import cleaner.data.images
        import cleaner.data.scenes
        import cleaner.workflow  # noqa: F401


def load_grammar() -> None:
    """Load tagger and lexicon, which takes seconds the first time."""
    import_library()
    with _import_lock:
        from cleaner.text import parse

        parse("a red car on the grass")


@st.cache_resource(show_spinner=False)
def warm_up() -> bool:
    """Load library and grammar in the background."""
    run_later(load_grammar)
    return True


def run_later(load: Callable[[], None]) -> None:
    """Call `load` in the background, once the browser has had time to paint what was drawn."""
    waiting = threading.Timer(PAINT_SECONDS, load)
    waiting.daemon = True
    waiting.start()


def wrap_in_thread(on_step: OnStep | None) -> OnStep | None:
    """Return an `on_step` that draws from a thread of its own.

    What a cached function draws itself, Streamlit draws again whenever the cache answers, and fails where the place for
    it is gone.
    """
    if on_step is None:
        return None

    def tell(report: StepReport) -> None:
        thread = threading.Thread(target=on_step, args=(report,), name="progress")
        add_script_run_ctx(thread, get_script_run_ctx())
        thread.start()
        thread.join()

    return tell
