"""Options to choose from: triggers, defenses, data, models, explainers, devices."""

from typing import Any

import streamlit as st

from cleaner.labels import FULL_CAPTIONS, find_clean_captions
from cleaner.runs.request import parse_data
from cleaner.types import CleanerError, OnStep
from pages._shared.cache.background import import_library, import_lock


@st.cache_resource(show_spinner=False)
def triggers() -> dict[str, Any]:
    """Return name -> trigger class."""
    import_library()
    from cleaner.attacks import TRIGGERS

    return {name: TRIGGERS[name] for name in TRIGGERS}


def load_prepared_trigger(trigger: Any, state: dict[str, Any] | None) -> Any:
    """Return the prepared trigger in a run's `state` if its settings equal `trigger`'s, else None."""
    from cleaner.attacks import load_trigger
    from cleaner.config import parameters

    settings = {p.name: getattr(trigger, p.name) for p in parameters(type(trigger))}
    settings["name"] = trigger.state_dict()["name"]
    if state is None or any(state.get(name) != value for name, value in settings.items()):
        return None
    return load_trigger(state)


@st.cache_resource(show_spinner=False)
def defenses() -> dict[str, Any]:
    """Return name -> defense class."""
    import_library()
    from cleaner.defenses import DEFENSES

    return {name: DEFENSES[name] for name in DEFENSES}


@st.cache_resource(show_spinner=False)
def explainers() -> dict[str, Any]:
    """Return name -> explainer class; imports captum the first time."""
    import_library()
    with import_lock:
        from cleaner.explain import EXPLAINERS

        return {name: EXPLAINERS[name] for name in EXPLAINERS}


@st.cache_resource(show_spinner=False)
def datasets() -> list[str]:
    """Return the names of the data sets that need no path."""
    import_library()
    from cleaner.data.base import list_builtin_data

    return list_builtin_data()


def caption_choices(data: str) -> tuple[tuple[str, ...], str]:
    """Return the captions that clean pairs of `data` can have, and the chosen one; empty without a choice."""
    import_library()
    from cleaner.data.base import resolve_source

    try:
        name, options = parse_data(data)
        choices = getattr(resolve_source(name)[0], "caption_choices", ())
    except CleanerError:
        return (), ""
    if not choices:
        return (), ""
    stated = find_clean_captions(options)
    return choices, stated if stated in choices else FULL_CAPTIONS


@st.cache_resource(show_spinner=False)
def downloads() -> dict[str, int]:
    """Return data set -> MB, for those that are downloaded on request."""
    import_library()
    from cleaner.data.base import DATASETS

    return {name: DATASETS[name].download_mb for name in DATASETS if hasattr(DATASETS[name], "download_mb")}


def is_downloaded(name: str) -> bool:
    """Return whether data of `downloads` are on this machine."""
    from cleaner.data.base import DATASETS

    return bool(DATASETS[name].is_downloaded())


def download(name: str, on_step: OnStep) -> None:
    """Download data; raises `CleanerError` if that fails."""
    from cleaner.data.base import load_data

    load_data(name, split="test", size=1, download=True, on_step=on_step)


def models() -> list[str]:
    """Return the names of the built-in models with weights on this machine; more come with `cleaner pretrain`."""
    import_library()
    from cleaner.models.architectures import BUILT_IN
    from cleaner.models.checkpoints import built_in_weights_path

    return [name for name in BUILT_IN if built_in_weights_path(name).exists()]


@st.cache_resource(show_spinner=False)
def devices() -> dict[str, str | None]:
    """Return device -> None, or why it is unavailable."""
    import_library()
    from cleaner.models.devices import check_devices

    return check_devices()


def default_device() -> str:
    """Return the device that "auto" selects."""
    reasons = devices()
    return next(name for name in ("cuda", "mps", "cpu") if reasons[name] is None)


@st.cache_resource(show_spinner=False)
def precisions(device: str) -> dict[str, str | None]:
    """Return precision -> None, or why `device` does not support it."""
    import_library()
    from cleaner.models.devices import check_precisions

    return check_precisions(device)


@st.cache_resource(show_spinner=False)
def resolve_auto_precision(device: str) -> str:
    """Return the precision that "auto" selects on a device."""
    import_library()
    from cleaner.models.devices import pick_precision

    return pick_precision(device)


@st.cache_resource(show_spinner=False)
def device_name(device: str) -> str:
    """Return the hardware name of a device."""
    import_library()
    from cleaner.models.devices import device_name

    return device_name(device)
