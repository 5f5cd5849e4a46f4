"""Data, models and runs by name, shared by all sessions and never changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from cleaner.runs.request import parse_data
from cleaner.types import CleanerError
from pages._shared.cache.background import import_library, wrap_in_thread

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from cleaner.models.clip import Clip
    from cleaner.models.framing import ImageTransform
    from cleaner.runs.store import Run
    from cleaner.types import OnStep


_written: dict[str, float] = {}


def _clear_if_changed(name: str, changed: float) -> None:
    """Forget all that caches hold, if the file behind a name is no longer the one they were made from."""
    if _written.setdefault(name, changed) != changed:
        _written[name] = changed
        st.cache_data.clear()
        st.cache_resource.clear()


@st.cache_resource(show_spinner=False, max_entries=24)
def _data(name: str, split: str, size: int, _on_step: OnStep | None) -> CaptionData:
    import_library()
    from cleaner.data.base import load_data

    known, options = parse_data(name)
    return load_data(known, split=split, size=size, on_step=wrap_in_thread(_on_step), **options)


def load_data(name: str, split: str, size: int, _on_step: OnStep | None = None) -> CaptionData:
    """Return data by name, which may carry a path and options ("pairs.csv classes=cat,dog"); read again when a table
    or archive has changed.

    Captions are ready at once; pictures are rendered, or read from their files, at their first use.
    """
    _clear_if_changed(name, read_mtime(parse_data(name)[0]))
    return _data(name, split, size, _on_step)


def resolve_data_name(name: str) -> tuple[str, dict[str, Any]]:
    """Return name and options of data by name, files as absolute paths."""
    import_library()
    from cleaner.data.base import resolve_data_paths

    return resolve_data_paths(*parse_data(name))


def save_uploads(files: list[tuple[str, bytes]]) -> str:
    """Keep uploaded files beside the runs that will name them; return the path of the zip they are in."""
    import_library()
    from cleaner.data.archive import pack_uploads
    from cleaner.runs.store import runs_root

    return str(pack_uploads(files, runs_root() / "uploads"))


def apply_framing(data: CaptionData, model: str) -> CaptionData:
    """Return data with pictures as a model sees them; as they are where that is not known without opening its file."""
    known = find_framing(model)
    return data if known is None else data.with_transform(known)


def find_framing(model: str) -> ImageTransform | None:
    """Return how a model sees pictures, if that is known without opening its file."""
    from cleaner.models.lookup import find_framing

    return find_framing(model)


def read_mtime(model: str) -> float:
    """Return when the file behind a model's name was last written; 0 where it is no file."""
    paths = [Path(model), Path(model.partition(":")[2])]
    return next((path.stat().st_mtime for path in paths if path.is_file()), 0.0)


@st.cache_resource(show_spinner=False, max_entries=6)
def _clip(name: str, changed: float) -> Clip:
    import_library()
    from cleaner.models.clip import load_clip

    return load_clip(name)


def load_clip(name: str) -> Clip:
    """Return a model by name or path, on the CPU in fp32; read again when its file has changed."""
    return _clip(name, read_mtime(name))


@st.cache_resource(show_spinner=False, max_entries=8)
def _run(folder: str) -> Run:
    import_library()
    from cleaner.runs.store import load_run

    return load_run(folder)


def load_run(folder: Path) -> Run:
    """Return a run with its weights; read again when another one has taken its place."""
    _clear_if_changed(str(folder), (folder / "config.json").stat().st_mtime)
    return _run(str(folder))


def make_model_key(name: str) -> tuple[str, ...]:
    """Return a model by name or path as `load_model` takes it.

    With the time of its file: what caches hold of a model is then not given for the one that has taken its place.
    """
    return "model", name, str(read_mtime(name))


def load_model(model: tuple[str, ...]) -> Clip:
    """Return the model meant by `named(name)`, ("clean", folder) or ("run", folder)."""
    kind, where = model[:2]
    looked_at = None if kind == "model" else load_run(Path(where))
    used = load_clip(where) if looked_at is None else looked_at.clean_clip if kind == "clean" else looked_at.clip
    if used is None:
        raise CleanerError("the model before the poisoning is not known for this run.")
    return used


@st.cache_data(show_spinner=False, max_entries=64)
def attack_verdict(folder: Path, metrics: dict[str, Any]) -> tuple[str, str]:
    """Return whether the attack took, and one sentence why."""
    import_library()
    from cleaner.evaluation.evaluate import Metrics
    from cleaner.workflow import attack_verdict

    return attack_verdict(Metrics.from_dict(metrics))


@st.cache_data(show_spinner=False, max_entries=64)
def poison_plan(
    name: str, size: int, trigger: dict[str, Any], target_class: str, rate: float, seed: int, clean_label: bool
) -> list[tuple[int, str, str]]:
    """Return (index, caption before, caption after) of the pairs that would be poisoned."""
    import_library()
    from cleaner.attacks import load_trigger
    from cleaner.data.poison import PoisonedData

    clean = load_data(name, "train", size)
    poisoned = PoisonedData(clean, load_trigger(trigger), target_class, rate, seed, clean_label)
    return [(i, clean.captions[i], poisoned.captions[i]) for i in poisoned.poison_indices.tolist()]
