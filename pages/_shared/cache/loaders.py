"""Data, models and runs by name, shared by all sessions and never modified."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from os import scandir

# pathlib's is_file raises for a long name or a folder without permission.
from os.path import dirname, getmtime, isdir, isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from cleaner.files import assets
from cleaner.models.resolve import ModelName
from cleaner.runs.request import parse_data
from cleaner.types import CleanerError
from pages._shared.cache.background import import_library, wrap_in_thread
from pages._shared.cache.model_cache import load_model_file
from pages._shared.inspect.sample import DataKey, ModelKey

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from cleaner.models.clip import Clip
    from cleaner.models.framing import ImageTransform
    from cleaner.types import OnStep, StepReport


CLASS_SAMPLE = 100
"""Test pairs that are read to know the classes and the size of data."""
FOLDER_SECONDS = 3
"""How long a folder of data is not looked at again: listing many images takes time at each rerun."""
MAX_DATA = 24
"""Data that are kept in memory."""
SHORT_CONTEXT = 32
"""Tokens that every model reads, but one of those of open_clip."""
_file_times: dict[str, float] = {}
_bars: dict[DataKey, OnStep] = {}
"""Data -> the bar of the page that loaded them last: their images are rendered at their first use, which can be later.
"""


def _clear_if_changed(name: str, mtime: float) -> None:
    """Clear all caches if the file behind `name` has changed since it was cached."""
    if _file_times.setdefault(name, mtime) != mtime:
        _file_times[name] = mtime
        st.cache_data.clear()
        st.cache_resource.clear()


@st.cache_resource(show_spinner=False, max_entries=MAX_DATA)
def _load_data(key: DataKey) -> CaptionData:
    import_library()
    from cleaner.data.base import load_data

    def report(step: StepReport) -> None:
        if key in _bars:
            _bars[key](step)

    name, options = parse_data(key.name)
    return load_data(name, split=key.split, size=key.size, on_step=report, **options)


def load_data(key: DataKey, on_step: OnStep | None = None) -> CaptionData:
    """Return one split of a data set, read again when its files have changed; images at their first use."""
    _clear_if_changed(key.name, read_data_mtime(key.name))
    if (draw := wrap_in_thread(on_step)) is not None:
        _bars.pop(key, None)
        _bars[key] = draw  # the newest is last
        for old in list(_bars)[:-MAX_DATA]:  # a bar keeps its session in memory
            _bars.pop(old, None)
    return _load_data(key)


def count_training_pairs(name: str) -> int | None:
    """Return the training pairs in the user's own files; None if the data are generated or cannot be read."""
    try:
        data = load_data(DataKey(name, "test", CLASS_SAMPLE))
    except CleanerError:
        return None
    return data.count_training_pairs()


def resolve_data_name(name: str) -> tuple[str, dict[str, Any]]:
    """Return name and options of a data set, with absolute paths."""
    import_library()
    from cleaner.data.base import resolve_data_paths

    return resolve_data_paths(*parse_data(name))


def save_uploads(files: list[tuple[str, bytes]]) -> str:
    """Pack uploaded files into a zip in the folder of runs; return its path."""
    import_library()
    from cleaner.data.archive import pack_uploads
    from cleaner.runs.folders import runs_root

    return str(pack_uploads(files, runs_root() / "uploads"))


def apply_framing(data: CaptionData, model: str) -> CaptionData:
    """Return data under a model's image transform; unchanged if the transform is unknown."""
    transform = find_framing(model)
    return data if transform is None else data.with_transform(transform)


def find_framing(model: str) -> ImageTransform | None:
    """Return a model's image transform if it is known without opening the file, else None."""
    from cleaner.models.lookup import find_framing

    return find_framing(model)


def read_mtime(name: str) -> float:
    """Return the modification time of the file behind a name; 0 if it is not a file."""
    paths = [name, name.partition(":")[2]]
    return next((getmtime(path) for path in paths if isfile(path)), 0.0)


def read_data_mtime(name: str) -> float:
    """Return the sum of the modification times of the files behind a data set's name and options; 0 if there are none.

    The newest time alone would stay when a file is replaced by an older one. A folder changes when files are added or
    removed; of a pattern of shards, their folder counts.
    """
    name, options = parse_data(name)
    paths = [name, name.partition(":")[2], *map(str, options.values())]
    return sum(
        _read_folder_mtime(path) if isdir(path) else read_mtime(path) or _read_parent_mtime(path) for path in paths
    )


def _read_parent_mtime(path: str) -> float:
    # Not of the folders below it: a mistyped path can have a whole disk there.
    return getmtime(folder) if isdir(folder := dirname(path)) else 0.0


@st.cache_data(show_spinner=False, max_entries=64, ttl=FOLDER_SECONDS)
def _read_folder_mtime(folder: str) -> float:
    """Return the sum of the times of a folder and those below it that begin with a folder; or 0."""
    total, to_list = 0.0, [folder]
    for path in to_list:
        with suppress(OSError):
            total += getmtime(path)
            with scandir(path) as entries:
                first = next(entries, None)
                if first is not None and (path == folder or first.is_dir()):
                    to_list += [entry.path for entry in (first, *entries) if entry.is_dir(follow_symlinks=False)]
    return total


def read_model_mtime(name: str) -> float:
    """Return the sum of the times of a model's files (an older file also changes it); 0: none."""
    times = [read_mtime(name)]
    folders = {name, ModelName.parse(name).rest, str(assets() / name)}  # an absolute path is its own place in assets
    for folder in folders:
        if folder and isdir(folder):
            with suppress(OSError):
                times += [getmtime(entry) for entry in scandir(folder) if entry.is_file()]
    return sum(times)


def load_clip(name: str) -> Clip:
    """Return a model by name or path, on the CPU in fp32; read it again when its file has changed."""
    return load_model_file(name, read_model_mtime(name))


@dataclass(frozen=True)
class CachedRun:
    """The attack of a run; its models come from the cache of models, so that many runs take little memory."""

    folder: Path
    trigger: Any
    target_class: str | None
    clean_model: str | None
    clean_sha256: str
    """SHA-256 of the weights before poisoning; empty if the run does not state it."""

    @property
    def clip(self) -> Clip:
        return load_clip(str(self.folder / "model.safetensors"))


@st.cache_resource(show_spinner=False, max_entries=64)
def _load_run(folder: str) -> CachedRun:
    import_library()
    from cleaner.runs.record import find_clean_sha256
    from cleaner.runs.run import load_run_trigger, read_complete_config

    config = read_complete_config(Path(folder))
    trigger, clean_model = load_run_trigger(Path(folder)), config.get("clean_model") or None
    return CachedRun(Path(folder), trigger, config.get("target_class"), clean_model, find_clean_sha256(config))


def read_run_mtime(folder: Path) -> float:
    """Return when a run's config was last written. Raises `CleanerError` if the run is gone."""
    try:
        return (folder / "config.json").stat().st_mtime
    except OSError as error:
        raise CleanerError(f"the run {folder.name} is gone: choose another one under In view.") from error


def _hash_run(folder: Path) -> tuple[str, float]:
    with suppress(CleanerError):  # it is gone: the cached function says so
        return str(folder), read_run_mtime(folder)
    return str(folder), 0.0


FILE_TIMES: dict[str | type, Callable[[Any], object]] = {
    type(Path()): _hash_run,
    DataKey: lambda key: (key.name, key.split, key.size, read_data_mtime(key.name)),
}
"""`hash_funcs` of what is computed from a run folder or from data, and computed again when their files have changed."""


def load_run(folder: Path) -> CachedRun:
    """Return a run; read it again when the folder holds another run. Raises `CleanerError` if it is gone."""
    _clear_if_changed(str(folder), read_run_mtime(folder))
    return _load_run(str(folder))


def make_model_key(name: str) -> ModelKey:
    """Return the key of a model by name or path; it includes the file time, so a new file misses the caches."""
    return "model", name, str(read_model_mtime(name))


def load_model(key: ModelKey) -> Clip:
    """Return the model of a key; raise `CleanerError` if it cannot be loaded, or its run records no clean model."""
    kind, source = key[:2]
    if kind == "model":
        return load_clip(source)
    run = load_run(Path(source))
    if kind == "run":
        return run.clip
    if run.clean_model is None:
        raise CleanerError("This run does not record its clean model: choose another run.")
    from cleaner.models.lookup import is_on_this_machine

    if not is_on_this_machine(run.clean_model):
        raise CleanerError(f"{run.clean_model} is not on this machine: restore its file, or open it by its name.")
    if run.clean_sha256 not in ("", hash_weights(run.clean_model)):
        raise CleanerError(f"{run.clean_model} holds other weights than before the poisoning: restore its file.")
    return load_clip(run.clean_model)


def hash_weights(name: str) -> str:
    """Return the SHA-256 of the weights of a model by name or path; "" if they are not on this machine."""
    from cleaner.models.lookup import is_on_this_machine

    return _hash_weights(name, read_model_mtime(name)) if is_on_this_machine(name) else ""


@st.cache_data(show_spinner=False, max_entries=64)
def _hash_weights(name: str, mtime: float) -> str:
    return load_clip(name).sha256()


def is_loadable(key: ModelKey) -> bool:
    """Load a model; return whether that succeeded."""
    try:
        load_model(key)
    except CleanerError:
        return False
    return True


@st.cache_data(show_spinner=False, max_entries=64)
def poison_plan(
    data: DataKey,
    trigger: dict[str, Any],
    *,
    target_class: str,
    poison_rate: float,
    seed: int,
    clean_label: bool,
    model: ModelKey,
) -> list[tuple[int, str, str]]:
    """Return (index, caption before, caption after) of the pairs that would be poisoned for a model."""
    import_library()
    from cleaner.attacks import load_trigger
    from cleaner.data.poison import PoisonedData
    from cleaner.models.lookup import find_templates

    def fits(text: str) -> bool:
        # A token is a byte at least, and there are a start and an end token: short texts need no loaded model.
        return len(text.encode()) + 2 <= SHORT_CONTEXT or load_model(model).fits_context(text)

    clean, attack, templates = load_data(data), load_trigger(trigger), find_templates(model[1])
    poisoned = PoisonedData(
        clean, attack, target_class, poison_rate, seed, clean_label=clean_label, fits=fits, templates=templates
    )
    return [(i, clean.captions[i], poisoned.captions[i]) for i in poisoned.poison_indices.tolist()]
