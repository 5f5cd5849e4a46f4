"""Load what the inspection pages of a run show first, before they are opened."""

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import streamlit as st

from cleaner.loading import freeze_garbage_collection
from cleaner.types import CleanerError
from pages._shared.cache.attributions import warm_attributions
from pages._shared.cache.background import import_library, run_later
from pages._shared.cache.loaders import is_loadable, load_data
from pages._shared.cache.subtexts import warm_vocabulary
from pages._shared.inspect.sample import DataKey, ModelKey, Sample, format_prompt


class FirstView(NamedTuple):
    """What the pages show of a run before the user has chosen anything."""

    run: Path
    target: str
    models: tuple[ModelKey, ...]
    """Clean, backdoored, and the newest defense."""
    other_models: tuple[ModelKey, ...]
    """Defenses that only some pages show at first."""
    test: DataKey
    clean: DataKey


@st.cache_resource(show_spinner=False, max_entries=8)
def warm_inspection(view: FirstView) -> bool:
    """Load models, data, words and attributions in the background; once for each run."""

    def load() -> None:
        import_library()
        loaded = [model for model in (*view.models, *view.other_models) if is_loadable(model)]
        with suppress(CleanerError):  # the page that needs it reports it
            text = format_prompt(load_data(view.test).templates, view.target)
            warm_attributions([m for m in view.models if m in loaded], Sample(view.test, 0), view.run, text)
        with suppress(CleanerError):
            load_data(view.clean).images([0])
            warm_vocabulary(view.clean)
        _freeze_once()

    run_later(load)
    return True


@cache
def _freeze_once() -> None:
    """Leave the words of the first run alone out of collections: what other runs leave behind would stay."""
    freeze_garbage_collection()
