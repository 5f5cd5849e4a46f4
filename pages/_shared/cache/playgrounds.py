"""Runs as the playground's engine reads them; made once, and kept (`cleaner.playground.files`)."""

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

from cleaner.playground import files
from cleaner.runs.derived import find_derived
from cleaner.runs.record import RunRecord
from cleaner.types import CleanerError
from pages._shared.cache.background import import_library, run_later
from pages._shared.cache.choices import defenses as list_kinds
from pages._shared.cache.loaders import load_data, load_run
from pages._shared.cache.samples import clean_image_pixels
from pages._shared.inspect.sample import Sample

_waiting: set[Path] = set()
_refused: dict[Path, CleanerError] = {}


class Playground(NamedTuple):
    """What a page shows, and the weights of its models as JSON."""

    page: dict[str, Any]
    weights: bytes


def make_playground(attack: RunRecord, defenses: Sequence[RunRecord]) -> Playground:
    """Return the playground of a backdoored run and the defenses that train its model."""
    name = files.name_file(attack, defenses)
    path = find_derived(attack.folder, name)
    if path in _refused:
        raise _refused[path]
    if not path.exists():
        import_library()
        from cleaner.playground.export import make_data

        kinds = list_kinds()
        trained = [run for run in defenses if not kinds[run.config["defense"]["name"]].is_model_frozen]
        try:
            page, weights = make_data([attack, *trained])
        except CleanerError as error:
            _refused[path] = error
            raise
        files.write_data(path, page, weights)
    return _read(path)


def find_playground(attack: RunRecord, defenses: Sequence[RunRecord]) -> Playground | None:
    """Return `make_playground`; None while it is made in the background, after the first paint."""
    path = find_derived(attack.folder, files.name_file(attack, defenses))
    if path.exists() or path in _refused:
        return make_playground(attack, defenses)
    if path not in _waiting:
        _waiting.add(path)
        run_later(partial(_make_later, attack, defenses))
    return None


def _make_later(attack: RunRecord, defenses: Sequence[RunRecord]) -> None:
    with suppress(CleanerError):  # the page that waits finds it
        make_playground(attack, defenses)


@st.cache_resource(show_spinner=False, max_entries=2)
def _read(path: Path) -> Playground:
    page, weights = files.read_data(path)
    return Playground(page, weights.encode())


def show_sample(playground: Playground, sample: Sample, run: Path) -> Playground:
    """Return a playground with one image, instead of its own ones."""
    from cleaner.playground.export import describe_scenes

    label = int(load_data(sample.data).labels[sample.index]) if sample.own_image is None else -1
    scenes = describe_scenes(load_run(run).trigger, clean_image_pixels(sample, run), [label])
    return playground._replace(page=playground.page | scenes)


def playground_html(attack: RunRecord, defenses: Sequence[RunRecord]) -> str:
    """Return the playground as an HTML file. Raises as `make_playground`."""
    playground = make_playground(attack, defenses)
    from cleaner.playground.export import render_playground

    return render_playground(playground.page, json.loads(playground.weights))
