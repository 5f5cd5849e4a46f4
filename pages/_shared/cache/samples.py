"""One image, its trigger, and each model's predictions for it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from cleaner.types import CleanerError
from pages._shared.cache.background import import_library, run_later, wrap_in_thread
from pages._shared.cache.loaders import load_data, load_model, load_run
from pages._shared.inspect.sample import DataKey, ModelKey, Placement, Sample, format_prompt

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from cleaner.models.framing import ImageTransform
    from cleaner.types import OnStep


def load_framed_data(sample: Sample, trigger_run: Path | None) -> CaptionData:
    """Return the sample's data under the image transform of the trigger's run, else of the sample's model."""
    data, framing = load_data(sample.data), _load_framing(sample, trigger_run)
    return data if framing is None else data.with_transform(framing)


def _load_framing(sample: Sample, trigger_run: Path | None) -> ImageTransform | None:
    """Return the image transform of the trigger's run, else of the sample's model, if there is one."""
    model = sample.model if trigger_run is None else ("run", str(trigger_run))
    return None if model is None else load_model(model).framing


def image_pair(sample: Sample, trigger_run: Path | None) -> Any:
    """Return an image and, given a run whose trigger changes images, its triggered copy: (1 or 2, 3, H, W), [0, 1]."""
    from cleaner.inspection.attribution import append_triggered

    trigger = load_run(trigger_run).trigger if trigger_run is not None else None
    return append_triggered(_load_clean_image(sample, trigger_run), trigger)


def _load_clean_image(sample: Sample, trigger_run: Path | None) -> Any:
    """Return an image, framed as its triggered copy is: (1, 3, H, W) in [0, 1]."""
    if sample.own_image is None:
        return load_framed_data(sample, trigger_run).images([sample.index])
    framing = _load_framing(sample, trigger_run)
    return decode_own_image(sample.own_image, framing, load_data(sample.data).image_size)


@st.cache_data(show_spinner=False, max_entries=8)
def decode_own_image(own_image: tuple[str, bytes], framing: ImageTransform | None, side: int) -> Any:
    """Return a user's image as (1, 3, H, W) in [0, 1]; without a framing, its center square of `side` px."""
    from cleaner.data.images import decode_tensor
    from cleaner.models.framing import ImageTransform

    name, content = own_image
    return decode_tensor(content, framing or ImageTransform(side), name)[None]


def image_pair_pixels(sample: Sample, trigger_run: Path | None) -> Any:
    """Return `image_pair` as uint8 (1 or 2, H, W, 3)."""
    from cleaner.data.images import to_uint8

    return to_uint8(image_pair(sample, trigger_run))


def clean_image_pixels(sample: Sample, trigger_run: Path | None) -> Any:
    """Return the image of `image_pair_pixels` without its triggered copy, which can take long: (1, H, W, 3)."""
    from cleaner.data.images import to_uint8

    return to_uint8(_load_clean_image(sample, trigger_run))


@st.cache_resource(show_spinner=False, max_entries=8)
def warm_images(sample: Sample, trigger_run: Path | None) -> bool:
    """Load a run's images and trigger in the background, before the first selection needs them."""

    def load() -> None:
        import_library()
        with suppress(CleanerError):  # the page reports it when it needs the image
            image_pair(sample, trigger_run)

    run_later(load)
    return True


def validate_image(content: bytes, name: str) -> None:
    """Raise `CleanerError` unless the file `name` with this content is an image."""
    import_library()
    from cleaner.models.framing import decode_image

    decode_image(content, name)


def trigger_mask(sample: Sample, trigger_run: Path | None) -> Any:
    """Return the mask of the trigger on an image, (H, W) in [0, 1], or None without a trigger."""
    trigger = load_run(trigger_run).trigger if trigger_run is not None else None
    return None if trigger is None else trigger.mask(_load_clean_image(sample, trigger_run))[0, 0].numpy()


def trigger_box(sample: Sample, trigger_run: Path) -> tuple[int, int, int, int] | None:
    """Return (left, top, width, height) of the trigger in px; None if it cannot be moved."""
    from cleaner.attacks.placement import find_trigger_box

    return find_trigger_box(_load_clean_image(sample, trigger_run), load_run(trigger_run).trigger)


def place_trigger(sample: Sample, trigger_run: Path | None, placement: Placement) -> Any:
    """Return the image with the placed trigger: as (1, 3, H, W) in [0, 1] and as uint8 (H, W, 3)."""
    from cleaner.attacks.placement import place_trigger
    from cleaner.data.images import to_uint8

    image = _load_clean_image(sample, trigger_run)
    if trigger_run is not None and placement.strength > 0:
        trigger = load_run(trigger_run).trigger
        image = place_trigger(image, trigger, placement.left, placement.top, placement.strength / 100)
    return image, to_uint8(image)[0]


def keyed_prompt(trigger_run: Path, data: DataKey) -> str:
    """Return a prompt for the target class with the text key of the run's trigger, "" if it changes images only."""
    run = load_run(trigger_run)
    if run.trigger is None or "text" not in run.trigger.modalities:
        return ""
    return str(run.trigger.text(format_prompt(load_data(data).templates, str(run.target_class))))


@st.cache_data(show_spinner=False, max_entries=256)
def best_classes(
    model: ModelKey,
    sample: Sample,
    trigger_run: Path | None,
    placement: Placement,
    text_key_run: Path | None = None,
) -> list[tuple[str, float, float]]:
    """Return (name, probability, cosine) of the top five classes; text_key_run: its key precedes each prompt."""
    from cleaner.inspection.similarity import best_classes

    image, _ = place_trigger(sample, trigger_run, placement)
    classifier = build_classifier(model, sample.data, text_key_run)
    return best_classes(load_model(model), load_data(sample.data), image, classifier=classifier)[0]


@st.cache_resource(show_spinner=False, max_entries=24)
def build_classifier(model: ModelKey, data: DataKey, text_key_run: Path | None, _on_step: OnStep | None = None) -> Any:
    """Return a model's zero-shot classifier (D, C); cached because mostly only the image changes."""
    from cleaner.evaluation.encode import Encoder

    labeled, encoder = load_data(data), Encoder(load_model(model), on_step=wrap_in_thread(_on_step))
    trigger = load_run(text_key_run).trigger if text_key_run is not None else None
    return encoder.build_classifier(labeled, trigger)
