"""Embedding maps: compute missing ones."""

import time
from pathlib import Path
from typing import Any

import streamlit as st

from cleaner.types import CleanerError, OnStep
from pages._shared.cache.background import import_library, wrap_in_thread
from pages._shared.cache.loaders import FILE_TIMES, load_data, load_model
from pages._shared.cache.works import BackgroundWork, start_work, wait_for_work
from pages._shared.inspect.sample import DataKey, ModelKey

POLL_SECONDS = 0.5
"""Seconds between two looks at the process that fits UMAP."""


def make_map(folder: Path, on_step: OnStep) -> Any:
    """Compute the map of a run, without UMAP, save it and return it."""
    import_library()
    from cleaner.inspection.embedding_map import ensure_map

    key = ("map", str(folder))
    return wait_for_work(key, lambda share: ensure_map(folder, with_umap=False, on_step=share), on_step)


@st.cache_resource(show_spinner=False, max_entries=4, hash_funcs=FILE_TIMES)
def make_model_map(model: ModelKey, stage: str, data: DataKey, _on_step: OnStep) -> Any:
    """Return the map of a model that belongs to no run; it is not saved."""
    from cleaner.inspection.embedding_map import compute_map

    return compute_map({stage: load_model(model)}, load_data(data), on_step=wrap_in_thread(_on_step))[0]


def fit_umap(folder: Path) -> BackgroundWork:
    """Add UMAP to a run's map in the background; its process lets the pages compute meanwhile."""
    from cleaner.jobs.map_worker import read_last_log_line, start_map_process

    def fit(work: BackgroundWork) -> None:
        process = start_map_process(folder)
        while process.poll() is None and not work.is_stopping:
            time.sleep(POLL_SECONDS)
        if process.poll():
            raise CleanerError(f"UMAP failed ({read_last_log_line(folder)}): choose PCA or try again.")

    return start_work(("umap", str(folder)), fit)
