"""Attributions: which pixels and words drive the similarity of an image and a text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

from cleaner.types import OnStep
from pages._shared.cache.background import wrap_in_thread
from pages._shared.cache.choices import explainers
from pages._shared.cache.loaders import load_data, load_model, load_run
from pages._shared.cache.samples import image_pair, trigger_mask
from pages._shared.inspect.sample import DataKey, ModelKey, Sample


class ExplainerSupport(NamedTuple):
    """What an explainer can do with a model."""

    unsupported_reason: str | None
    """None: the explainer supports the model."""
    limits: dict[str, int]
    """Parameter -> its maximum for this model."""
    grid_size: int
    """Cells per side of the map; 0: one value per pixel."""


@st.cache_data(show_spinner=False, max_entries=128)
def attribution(
    model: ModelKey,
    method: str,
    settings: dict[str, Any],
    sample: Sample,
    trigger_run: Path | None,
    *,
    text: str,
    _on_step: OnStep | None = None,
) -> tuple[Any, list[float]]:
    """Return maps (1 or 2, H, W) of the clean and the triggered image, and the cosine of each with the text."""
    from cleaner.inspection.similarity import compute_similarities, text_feature

    clip, images = load_model(model), image_pair(sample, trigger_run)
    target, on_step = text_feature(clip, text), wrap_in_thread(_on_step)
    maps = explainers()[method](**settings).attribute(clip, images, target, on_step)
    return maps.numpy(), [cosine for (cosine,) in compute_similarities(clip, images, [text])]


def check_explainer(model: ModelKey, method: str, settings: dict[str, Any] | None = None) -> ExplainerSupport:
    """Return what an explainer can do with a model; settings: None for the defaults."""
    explainer, clip = explainers()[method](**(settings or {})), load_model(model)
    if reason := explainer.unsupported_reason(clip):
        return ExplainerSupport(reason, {}, 0)
    return ExplainerSupport(None, dict(explainer.limits(clip)), explainer.grid_size(clip))


OCCLUSION_MAX_SIDE = 96
"""Image side in px up to which occlusion takes about half a second per model."""


def list_explainers(models: Sequence[ModelKey]) -> tuple[list[str], str]:
    """Return the explainers of images that support all models, and the one to start with."""
    kinds = [name for name, kind in explainers().items() if kind.input_kind == "images"]
    supported = [n for n in kinds if all(check_explainer(m, n).unsupported_reason is None for m in models)]
    is_small = all(image_size(model) <= OCCLUSION_MAX_SIDE for model in models)
    preferred = (*(["occlusion"] if is_small else []), "gradient_rollout", "grad_cam", *supported)
    return supported, next(name for name in preferred if name in supported)


def warm_attributions(models: Sequence[ModelKey], sample: Sample, trigger_run: Path, text: str) -> None:
    """Compute what the page Attention shows first."""
    from cleaner.config import parameters

    method = list_explainers(models)[1]
    settings = {p.name: p.default for p in parameters(explainers()[method])}
    for model in models:
        attribution(model, method, settings, sample, trigger_run, text=text)
        word_attribution(model, sample, trigger_run, text)


def image_size(model: ModelKey) -> int:
    """Return the side of a model's input images in px."""
    return load_model(model).image_size


def shares(maps: Any, sample: Sample, trigger_run: Path) -> Any:
    """Return the `TriggerAttribution` of one image's maps (2, H, W), clean and triggered."""
    from cleaner.inspection.attribution import compare_map_pair

    return compare_map_pair(maps, trigger_mask(sample, trigger_run))


@st.cache_resource(show_spinner=False, max_entries=64)
def shares_over(
    model: ModelKey,
    method: str,
    settings: dict[str, Any],
    data: DataKey,
    trigger_run: Path,
    *,
    text: str,
    n: int,
    _on_step: OnStep,
) -> Any:
    """Return the `TriggerAttribution` of n images of `data`."""
    from cleaner.inspection.attribution import measure_trigger_attribution

    attack, tested = load_run(trigger_run), load_data(data)
    assert attack.trigger is not None
    is_of_data = attack.target_class in tested.class_names  # the data may be the user's
    return measure_trigger_attribution(
        load_model(model),
        explainers()[method](**settings),
        data=tested,
        trigger=attack.trigger,
        target_class=attack.target_class if is_of_data else None,
        text=text,
        n=n,
        on_step=wrap_in_thread(_on_step),
    )


@st.cache_data(show_spinner=False, max_entries=128)
def word_attribution(
    model: ModelKey, sample: Sample, trigger_run: Path | None, caption: str, _on_step: OnStep | None = None
) -> tuple[list[str], list[list[float]]]:
    """Return a caption's words and what each adds to the cosine with the clean and the triggered image."""
    from cleaner.inspection.attribution import word_attribution

    explainer = next(cls() for cls in explainers().values() if cls.input_kind == "captions")
    images = image_pair(sample, trigger_run)
    return word_attribution(load_model(model), explainer, caption, images, wrap_in_thread(_on_step))
