"""Models trained elsewhere: file facts, clean accuracy, and a scan for triggers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import streamlit as st

from cleaner.types import CleanerError
from pages._shared.cache.background import import_library, wrap_in_thread
from pages._shared.cache.loaders import FILE_TIMES, load_data, load_model, make_model_key
from pages._shared.inspect.sample import DataKey, ModelKey

if TYPE_CHECKING:
    from cleaner.evaluation.result import Metrics
    from cleaner.types import OnStep


@st.cache_data(show_spinner=False, max_entries=16)
def describe(model: ModelKey) -> str | None:
    """Return facts about a model's file without opening it; None if it is not a file."""
    import_library()
    from cleaner.models.lookup import describe_model_file

    return describe_model_file(model[1])


@st.cache_resource(show_spinner=False, max_entries=4, hash_funcs=FILE_TIMES)
def inspect_model(model: ModelKey, data: DataKey, _on_step: OnStep) -> tuple[list[str], Metrics]:
    """Open a model; return sentences that describe it, and its `Metrics` on some images."""
    from cleaner.evaluation.evaluate import evaluate
    from cleaner.inspection.activation import try_activations
    from cleaner.inspection.description import describe_model

    clip, images, on_step = load_model(model), load_data(data), wrap_in_thread(_on_step)
    trial = try_activations(clip, images, on_step)
    sentences = [*describe_model(clip), *([str(trial)] if trial else [])]
    return sentences, evaluate(clip, images, ks=(1,), counterfactual=False, on_step=on_step)


class Scanned(NamedTuple):
    """A scan: its rows and those of a trusted model, the settings tried, and the skipped triggers with reasons."""

    results: list[Any]
    reference: list[Any]
    tried: int
    skipped: dict[str, str]
    warning: str


@st.cache_resource(show_spinner=False, max_entries=16, hash_funcs=FILE_TIMES)
def _scan(
    models: list[ModelKey], data: DataKey, settings: str, variants: bool, _trigger: Any, _on_step: OnStep
) -> Scanned:
    from cleaner.evaluation.scan import SCAN_WARNING, find_scannable_triggers, scan
    from cleaner.evaluation.scan_variants import SCREENED_IMAGES, scan_variants

    on_step = wrap_in_thread(_on_step)
    clip, *trusted = map(load_model, models)
    triggers, skipped = (
        find_scannable_triggers() if _trigger is None else ({_trigger.state_dict()["name"]: _trigger}, {})
    )
    tried, images = len(triggers), load_data(data)
    size = data.size or len(images)
    if variants:
        more = load_data(replace(data, size=size + SCREENED_IMAGES))
        found = scan_variants(clip, more, triggers, size, on_step)
        rows, triggers, tried, images = found.results, found.triggers, found.tried, found.data
    else:
        rows = scan(clip, images, triggers, size, on_step)
    reference = [row for model in trusted for row in scan(model, images, triggers, size, on_step)]
    return Scanned(rows, reference, tried, skipped, SCAN_WARNING)


def probe(model: str, data: DataKey, trigger: Any) -> tuple[str, Any]:
    """Return a trigger's settings as text, and the result of the class that gains most images of it."""
    from cleaner.evaluation.scan_variants import describe_variant

    return describe_variant(trigger), scan(model, data, trigger, lambda report: None).results[0]


def scan(
    model: str, data: DataKey, trigger: Any, on_step: OnStep, *, reference: str | None = None, variants: bool = False
) -> Scanned:
    """Scan a model for triggers.

    trigger: the only one to try; None: all built-in ones, with `variants` at other settings too. data.size: number of
    images; reference: a trusted model to scan with the same settings.
    """
    from cleaner.evaluation.scan import unscannable_reason

    if trigger is not None and (reason := unscannable_reason(trigger)):
        raise CleanerError(reason)
    settings = "" if trigger is None else str(trigger.state_dict())
    models = [make_model_key(name) for name in (model, reference) if name]
    return _scan(models, data, settings, variants, _trigger=trigger, _on_step=on_step)
