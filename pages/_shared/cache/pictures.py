"""One picture, its trigger, and what models take it for."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from cleaner.types import CleanerError
from pages._shared.cache.library import later, library
from pages._shared.cache.material import data, of_stage, run

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from pages._shared.view import Sample


def seen(sample: Sample, attacked: Path | None) -> CaptionData:
    """Return the data of a picture, framed as the run's model sees them (its trigger acts on that), or a bare model."""
    shown = data(sample.data, sample.split, sample.size)
    model = sample.model if attacked is None else ("run", str(attacked))
    return shown if model is None else shown.framed(of_stage(model).framing)


def picture_pair(sample: Sample, attacked: Path | None) -> Any:
    """Return a picture, and the same one with the run's trigger where there is one, as (1 or 2, 3, H, W) in [0, 1]."""
    from cleaner.data.images import from_bytes
    from cleaner.inspection.attribution import with_trigger

    shown = seen(sample, attacked)
    if sample.own is None:
        clean = shown.images([sample.index])
    else:
        clean = from_bytes(sample.own[1], shown.image_size, sample.own[0])[None]
    return with_trigger(clean, run(attacked).trigger if attacked is not None else None)


def shown_pair(sample: Sample, attacked: Path | None) -> Any:
    """Return `picture_pair` as bytes (1 or 2, H, W, 3)."""
    from cleaner.data.images import to_bytes

    return to_bytes(picture_pair(sample, attacked))


@st.cache_resource(show_spinner=False, max_entries=8)
def warm_pictures(sample: Sample, attacked: Path | None) -> bool:
    """Get a run's pictures and trigger ready in the background, for the first points that are selected."""

    def load() -> None:
        library()
        with suppress(CleanerError):  # the page says so when they are asked for
            picture_pair(sample, attacked)

    later(load)
    return True


def trigger_mask(sample: Sample, attacked: Path | None) -> Any:
    """Return where the trigger lies on a picture, (H, W) in [0, 1], or None without a trigger."""
    trigger = run(attacked).trigger if attacked is not None else None
    return None if trigger is None else trigger.mask(picture_pair(sample, attacked)[:1])[0, 0].numpy()


def stamp(sample: Sample, attacked: Path) -> tuple[int, int, int, int] | None:
    """Return left, top, width and height in px of the box that the run's trigger changes; None if it has no place."""
    from cleaner.data.images import stamp

    return stamp(picture_pair(sample, attacked)[:1], run(attacked).trigger)


def placed(sample: Sample, attacked: Path | None, left: int, top: int, strength: float) -> Any:
    """Return the picture with the run's trigger at a place, (1, 3, H, W) and as bytes (H, W, 3)."""
    from cleaner.data.images import placed, to_bytes

    picture = picture_pair(sample, attacked)[:1]
    if attacked is not None and strength > 0:
        picture = placed(picture, run(attacked).trigger, left, top, strength)
    return picture, to_bytes(picture)[0]


def text_key(attacked: Path) -> str:
    """Return the first words of a prompt with the run's text key, or nothing where its trigger has none."""
    trigger = run(attacked).trigger
    return trigger.text("").strip() if trigger is not None and "text" in trigger.keys else ""


@st.cache_data(show_spinner=False, max_entries=256)
def best_classes(
    model: tuple[str, ...],
    sample: Sample,
    attacked: Path | None,
    left: int,
    top: int,
    strength: float,
    word_of: Path | None = None,
) -> list[tuple[str, float, float]]:
    """Return the five best classes of a picture with the trigger at a place: (name, probability, cosine).

    word_of: the run whose text key stands in the prompts.
    """
    from cleaner.inspection.features import best_classes

    picture, _ = placed(sample, attacked, left, top, strength)
    known = data(sample.data, sample.split, sample.size)
    classifier = _classifier(model, sample.data, sample.split, sample.size, word_of)
    return best_classes(of_stage(model), known, picture, classifier=classifier)[0]


@st.cache_resource(show_spinner=False, max_entries=24)
def _classifier(model: tuple[str, ...], name: str, split: str, size: int, word_of: Path | None) -> Any:
    """Return a model's zero-shot classifier (D, C): kept, because mostly only the picture changes."""
    from cleaner.evaluation.evaluate import build_classifier, build_keyed_classifier

    clip, known = of_stage(model), data(name, split, size)
    trigger = run(word_of).trigger if word_of is not None else None
    return build_classifier(clip, known) if trigger is None else build_keyed_classifier(clip, known, trigger)
