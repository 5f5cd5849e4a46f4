"""The playground in a page: drag the trigger, and the models answer in the browser, without the server."""

import hashlib

import streamlit as st
from streamlit import runtime

from cleaner.playground.scripts import STYLE, read_embedded
from cleaner.plots.component import read_style
from cleaner.runs.record import RunRecord
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.runs import ticker
from pages._shared.shell import state

_component = st.components.v2.component(
    "playground", html='<div class="playground"></div>', js=read_embedded(), css=read_style(STYLE)
)
MAX_DEFENSES = 3
"""Defenses in a playground that a page makes: each adds half a megabyte."""


def is_possible(run: RunRecord) -> bool:
    """Return whether the engine may know the models of a run, which making the playground finds out."""
    return run.stage == "backdoored" and state.is_built_in(run.clean_model or "")


def list_defenses(run: RunRecord) -> list[RunRecord]:
    """Return the newest defenses of a run."""
    return [other for other in state.defended_runs(run) if other.defense][:MAX_DEFENSES]


def show(key: str, playground: cache.Playground, link: str = "") -> None:
    """Draw the image, its trigger and what each model sees; link: query of a link to this view."""
    page, weights = playground
    url = runtime.get_instance().media_file_mgr.add(weights, "application/json", key) if runtime.exists() else ""
    identity = hashlib.sha256(f"{page['scenes']} {page['trigger']} {url}".encode()).hexdigest()
    _component(key=key, data={"place": key, "key": identity, "page": page, "weights": url, "link": link})


def show_newest(run: RunRecord, key: str) -> None:
    """Draw a backdoored run with its newest defenses, once they are ready; nothing for models that the engine lacks."""
    defenses = list_defenses(run)

    @st.fragment
    def watch() -> None:
        try:
            playground = cache.find_playground(run, defenses)
        except CleanerError:
            return
        with st.container(key=f"{key}.place"):
            if playground is None:
                st.caption(":material/hourglass_top: Preparing the models for your browser …")
                ticker.tick(f"{key}.tick")
            else:
                show(key, playground)
                st.caption("Drag, resize or fade the trigger: all models answer in your browser. One image, n = 1.")

    watch()
