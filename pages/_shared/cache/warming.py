"""Load what the inspection pages of a run need first, before they are opened."""

from __future__ import annotations

from contextlib import suppress

import streamlit as st

from cleaner.types import CleanerError
from pages._shared.cache.background import import_library, run_later
from pages._shared.cache.choices import explainers
from pages._shared.cache.loaders import load_data, load_model
from pages._shared.cache.subtexts import warm_vocabulary
from pages._shared.sample import DataKey, ModelKey


@st.cache_resource(show_spinner=False, max_entries=8)
def warm_inspection(models: tuple[ModelKey, ...], test: DataKey, clean: DataKey) -> bool:
    """Load explainers, models, data and vocabulary in the background; once for each run."""

    def load() -> None:
        import_library()
        explainers()
        with suppress(CleanerError):  # the page that needs it reports it
            for model in models:
                load_model(model)
            load_data(test).images([0])
        with suppress(CleanerError):
            load_data(clean).images([0])
            warm_vocabulary(clean)

    run_later(load)
    return True
