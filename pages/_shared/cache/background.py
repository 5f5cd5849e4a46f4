"""Load heavy libraries one thread at a time, in the background after the first paint."""

import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import cache

import streamlit as st
from streamlit.runtime.scriptrunner import add_script_run_ctx, get_script_run_ctx

from cleaner.jobs import local
from cleaner.loading import loading_libraries
from cleaner.types import OnStep, StepReport
from pages._shared.cache.works import BackgroundWork, queue_work

PAINT_SECONDS = 2.0
import_lock = threading.RLock()
"""Two threads that import torch and torchvision at once can deadlock (`_DeadlockError`)."""


def import_library() -> None:
    """Import what the pages need; other threads wait. Free after the first call."""
    with import_lock:
        _import_once()


@cache
def _import_once() -> None:
    with loading_libraries():
        import cleaner.data.images
        import cleaner.data.scenes
        import cleaner.workflow  # noqa: F401


def load_grammar() -> None:
    """Load tagger and lexicon; takes seconds the first time."""
    import_library()
    with import_lock:
        from cleaner.text import parse

        parse("a red car on the grass")


def _load_all() -> None:
    with loading_libraries():  # a collection after each page run would hold up answers for 0.3 s
        load_grammar()
        with import_lock:
            import cleaner.explain  # noqa: F401  # captum
    keep_worker()


def keep_worker() -> None:
    """Have a worker ready for the next run, once this server has loaded the library itself."""
    if "cleaner.workflow" in sys.modules:
        from cleaner.models.devices import pick_device

        local.keep_worker(pick_device("auto").type)


@cache
def warm_up() -> None:
    """Load the libraries and the grammar in the background, once per server; then start a worker that waits."""
    run_later(_load_all)


def run_later(load: Callable[[], None]) -> None:
    """Call `load` in the background after `PAINT_SECONDS`, when the browser has painted the page; in order of calls."""
    due = time.monotonic() + PAINT_SECONDS

    def load_when_due(work: BackgroundWork) -> None:
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            if not work.is_stopping:
                load()
        except Exception:
            traceback.print_exc()

    queue_work(("run-later",), load_when_due)


def wrap_in_thread(on_step: OnStep | None) -> OnStep | None:
    """Return an `on_step` that draws from its own thread, and stops the work when the page run is to stop.

    Streamlit records what a cached function draws in its own thread, replays it on every cache hit, and fails once the
    placeholder is gone. Cached data keep the callback: called for another session, it must not draw into that one.
    """
    if on_step is None or isinstance(on_step, BackgroundWork):  # which draws nothing
        return on_step
    owner = get_script_run_ctx()

    def draw_in_thread(report: StepReport) -> None:
        context = get_script_run_ctx()
        if context is owner:
            thread = threading.Thread(target=on_step, args=(report,), name="progress")
            add_script_run_ctx(thread, context)
            thread.start()
            thread.join()
        # Streamlit ends a page run, after a click or a closed tab, when the run touches the session. Nothing is drawn.
        _ = "progress" in st.session_state

    return draw_in_thread
