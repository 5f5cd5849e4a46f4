"""Embedding maps: compute missing ones."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages._shared.cache.background import import_library, share_work, wrap_in_thread
from pages._shared.cache.loaders import load_data, load_model, read_data_mtime
from pages._shared.inspect.sample import DataKey, ModelKey

if TYPE_CHECKING:
    from cleaner.types import OnStep

_umap_processes: dict[Path, subprocess.Popen[bytes]] = {}
"""Run folder -> the process that fits its UMAP, for all sessions; no cache, which another session may clear."""
_umap_lock = threading.Lock()


def make_map(folder: Path, on_step: OnStep) -> Any:
    """Compute the map of a run, without UMAP, save it and return it."""
    import_library()
    from cleaner.inspection.embedding_map import ensure_map

    with share_work(folder, on_step) as share:
        return ensure_map(folder, with_umap=False, on_step=share)


def make_model_map(model: ModelKey, stage: str, data: DataKey, on_step: OnStep) -> Any:
    """Return the map of a model that belongs to no run; it is not saved."""
    return _make_model_map(model, stage, data, read_data_mtime(data.name), on_step)


@st.cache_resource(show_spinner=False, max_entries=4)
def _make_model_map(model: ModelKey, stage: str, data: DataKey, data_mtime: float, _on_step: OnStep) -> Any:
    from cleaner.inspection.embedding_map import compute_map

    return compute_map({stage: load_model(model)}, load_data(data), on_step=wrap_in_thread(_on_step))[0]


def fit_umap(folder: Path) -> bool:
    """Start a process that adds UMAP to a run's map, unless one is running; return whether it is running."""
    from cleaner.jobs.map_worker import start_map_process

    with _umap_lock:
        process = _umap_processes.get(folder)
        if process is None:
            process = _umap_processes[folder] = start_map_process(folder)
        is_running = process.poll() is None
        if not is_running:
            del _umap_processes[folder]
        return is_running
