"""Where models look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages._shared.cache.background import wrap_in_thread
from pages._shared.cache.choices import explainers
from pages._shared.cache.loaders import load_data, load_model, load_run
from pages._shared.cache.samples import image_pair, trigger_mask

if TYPE_CHECKING:
    from cleaner.types import OnStep
    from pages._shared.pickers import Sample


@st.cache_data(show_spinner=False, max_entries=128)
def attribution(
    model: tuple[str, ...], method: str, settings: dict[str, Any], sample: Sample, trigger_run: Path | None, text: str
) -> tuple[Any, list[float]]:
    """Return maps (1 or 2, H, W) of the clean and the triggered picture, and the cosine of each with the text."""
    from cleaner.inspection.similarity import compute_image_similarities, text_feature

    used, pictures = load_model(model), image_pair(sample, trigger_run)
    maps = explainers()[method](**settings).attribute(used, pictures, text_feature(used, text))
    return maps.numpy(), compute_image_similarities(used, pictures, text)


def check_explainer(model: tuple[str, ...], method: str) -> tuple[str | None, dict[str, int], int]:
    """Return why a method cannot look into a model (or None), the limits of its parameters, its grid of cells."""
    explainer, used = explainers()[method](), load_model(model)
    reason = explainer.unsupported_reason(used)
    return reason, {} if reason else dict(explainer.limits(used)), 0 if reason else explainer.grid_size(used)


def image_size(model: tuple[str, ...]) -> int:
    """Return the side in px of the pictures that a model sees."""
    return load_model(model).image_size


def shares(maps: Any, sample: Sample, trigger_run: Path) -> Any:
    """Return the `cleaner.inspection.attribution.TriggerAttribution` of one picture's maps (2, H, W) without and with trigger."""
    from cleaner.inspection.attribution import compare_map_pair

    return compare_map_pair(maps, trigger_mask(sample, trigger_run))


@st.cache_resource(show_spinner=False, max_entries=64)
def shares_over(
    model: tuple[str, ...],
    method: str,
    settings: dict[str, Any],
    name: str,
    size: int,
    trigger_run: Path,
    text: str,
    n: int,
    _on_step: OnStep,
) -> Any:
    """Return the `cleaner.inspection.attribution.TriggerAttribution` of n test pictures."""
    from cleaner.inspection.attribution import measure_trigger_attribution

    attack = load_run(trigger_run)
    assert attack.trigger is not None
    explainer = explainers()[method](**settings)
    return measure_trigger_attribution(
        load_model(model),
        explainer,
        load_data(name, "test", size),
        attack.trigger,
        str(attack.target_class),
        text,
        n,
        wrap_in_thread(_on_step),
    )


@st.cache_data(show_spinner=False, max_entries=128)
def word_attribution(
    model: tuple[str, ...], sample: Sample, trigger_run: Path | None, caption: str
) -> tuple[list[str], list[list[float]]]:
    """Return a caption's words, and what each adds to the similarity to the clean and the triggered picture."""
    from cleaner.inspection.attribution import word_attribution

    explainer = next(cls() for cls in explainers().values() if cls.input_kind == "captions")
    return word_attribution(load_model(model), explainer, caption, image_pair(sample, trigger_run))
