"""Maps of embeddings: kept ones are read, missing ones are made."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages._shared.cache.background import import_library, wrap_in_thread
from pages._shared.cache.loaders import load_data, load_model

if TYPE_CHECKING:
    from cleaner.types import OnStep


@st.cache_resource(show_spinner=False, max_entries=24)
def _read_map(folder: Path, written: float) -> Any:
    from cleaner.inspection.embedding_map import read_map

    return read_map(folder)


def read_map(folder: Path) -> Any:
    """Return the `cleaner.inspection.embedding_map.EmbeddingMap` that is kept of a run, or None if there is none. Loads no library."""
    from cleaner.inspection.embedding_map import locate_map_file

    try:
        return _read_map(folder, locate_map_file(folder).stat().st_mtime)
    except OSError:
        return None


def make_map(folder: Path, parent: Path, on_step: OnStep) -> Any:
    """Make the map of a run that has none, without UMAP, and keep it; return it."""
    import_library()
    from cleaner.inspection.embedding_map import ensure_map

    return ensure_map(folder, None if parent == folder else parent, with_umap=False, on_step=on_step)


@st.cache_resource(show_spinner=False, max_entries=4)
def make_model_map(model: tuple[str, ...], stage: str, name: str, size: int, _on_step: OnStep) -> Any:
    """Return the map of a model alone: it belongs to no run, so that it is not kept."""
    from cleaner.inspection.embedding_map import compute_map

    return compute_map({stage: load_model(model)}, load_data(name, "test", size), on_step=wrap_in_thread(_on_step))[0]


@st.cache_resource(show_spinner=False)
def _umap_processes() -> dict[Path, subprocess.Popen[bytes]]:
    return {}


def fit_umap(folder: Path, parent: Path) -> bool:
    """Begin to add UMAP to a run's map in a process of its own unless that is being done; return whether it works."""
    from cleaner.jobs.map_worker import start_map_process

    running = _umap_processes()
    if folder not in running:
        running[folder] = start_map_process(folder, None if parent == folder else parent)
    busy = running[folder].poll() is None
    if not busy:
        del running[folder]
    return busy
