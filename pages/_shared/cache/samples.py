"""One picture, its trigger, and what models take it for."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from cleaner.types import CleanerError
from pages._shared.cache.background import import_library, run_later
from pages._shared.cache.loaders import load_data, load_model, load_run

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from pages._shared.pickers import Sample


def load_framed_data(sample: Sample, trigger_run: Path | None) -> CaptionData:
    """Return the data of a picture, framed as the run's model sees them (its trigger acts on that), or a bare model."""
    shown = load_data(sample.data, sample.split, sample.size)
    model = sample.model if trigger_run is None else ("run", str(trigger_run))
    return shown if model is None else shown.with_transform(load_model(model).framing)


def image_pair(sample: Sample, trigger_run: Path | None) -> Any:
    """Return a picture, and the same one with the run's trigger where there is one, as (1 or 2, 3, H, W) in [0, 1]."""
    from cleaner.data.images import decode_tensor
    from cleaner.inspection.attribution import append_triggered

    shown = load_framed_data(sample, trigger_run)
    if sample.own_image is None:
        clean = shown.images([sample.index])
    else:
        clean = decode_tensor(sample.own_image[1], shown.image_size, sample.own_image[0])[None]
    return append_triggered(clean, load_run(trigger_run).trigger if trigger_run is not None else None)


def image_pair_bytes(sample: Sample, trigger_run: Path | None) -> Any:
    """Return `image_pair` as bytes (1 or 2, H, W, 3)."""
    from cleaner.data.images import to_uint8

    return to_uint8(image_pair(sample, trigger_run))


@st.cache_resource(show_spinner=False, max_entries=8)
def warm_images(sample: Sample, trigger_run: Path | None) -> bool:
    """Get a run's pictures and trigger ready in the background, for the first points that are selected."""

    def load() -> None:
        import_library()
        with suppress(CleanerError):  # the page says so when they are asked for
            image_pair(sample, trigger_run)

    run_later(load)
    return True


def trigger_mask(sample: Sample, trigger_run: Path | None) -> Any:
    """Return where the trigger lies on a picture, (H, W) in [0, 1], or None without a trigger."""
    trigger = load_run(trigger_run).trigger if trigger_run is not None else None
    return None if trigger is None else trigger.mask(image_pair(sample, trigger_run)[:1])[0, 0].numpy()


def trigger_box(sample: Sample, trigger_run: Path) -> tuple[int, int, int, int] | None:
    """Return left, top, width and height in px of the box that the run's trigger changes; None if it has no place."""
    from cleaner.data.images import find_trigger_box

    return find_trigger_box(image_pair(sample, trigger_run)[:1], load_run(trigger_run).trigger)


def place_trigger(sample: Sample, trigger_run: Path | None, left: int, top: int, strength: float) -> Any:
    """Return the picture with the run's trigger at a place, (1, 3, H, W) and as bytes (H, W, 3)."""
    from cleaner.data.images import place_trigger, to_uint8

    picture = image_pair(sample, trigger_run)[:1]
    if trigger_run is not None and strength > 0:
        picture = place_trigger(picture, load_run(trigger_run).trigger, left, top, strength)
    return picture, to_uint8(picture)[0]


def text_key(trigger_run: Path) -> str:
    """Return the first words of a prompt with the run's text key, or nothing where its trigger has none."""
    trigger = load_run(trigger_run).trigger
    return trigger.text("").strip() if trigger is not None and "text" in trigger.modalities else ""


@st.cache_data(show_spinner=False, max_entries=256)
def best_classes(
    model: tuple[str, ...],
    sample: Sample,
    trigger_run: Path | None,
    left: int,
    top: int,
    strength: float,
    text_key_run: Path | None = None,
) -> list[tuple[str, float, float]]:
    """Return the five best classes of a picture with the trigger at a place: (name, probability, cosine).

    text_key_run: the run whose text key stands in the prompts.
    """
    from cleaner.inspection.similarity import best_classes

    picture, _ = place_trigger(sample, trigger_run, left, top, strength)
    known = load_data(sample.data, sample.split, sample.size)
    classifier = _classifier(model, sample.data, sample.split, sample.size, text_key_run)
    return best_classes(load_model(model), known, picture, classifier=classifier)[0]


@st.cache_resource(show_spinner=False, max_entries=24)
def _classifier(model: tuple[str, ...], name: str, split: str, size: int, text_key_run: Path | None) -> Any:
    """Return a model's zero-shot classifier (D, C): kept, because mostly only the picture changes."""
    from cleaner.evaluation.encode import build_classifier, build_keyed_classifier

    clip, known = load_model(model), load_data(name, split, size)
    trigger = load_run(text_key_run).trigger if text_key_run is not None else None
    return build_classifier(clip, known) if trigger is None else build_keyed_classifier(clip, known, trigger)
