"""Trigger inversions: make new ones, and draw the trigger of a known attack next to them."""

from pathlib import Path
from typing import Any

import streamlit as st

from cleaner.runs.inversion_result import write_inversion
from cleaner.runs.store import refuse_deleted
from cleaner.types import OnStep
from pages._shared.cache.background import import_library, wrap_in_thread
from pages._shared.cache.loaders import FILE_TIMES, load_data, load_model, load_run
from pages._shared.inspect.sample import DataKey, ModelKey


def make_inversion(
    model: ModelKey, data: DataKey, config: Any, *, run: Path | None, folder: Path, on_step: OnStep
) -> None:
    """Invert the trigger of a model and store the result in `folder`; run: the attack that it is compared with."""
    import_library()
    from cleaner.inspection.inversion import invert

    attack: dict[str, Any] = {}
    if run is not None:
        attack = {"trigger": load_run(run).trigger, "target_class": load_run(run).target_class}
    images = load_data(data, on_step)
    found = invert(load_model(model), images, config, wrap_in_thread(on_step), **attack)
    if run is not None:
        refuse_deleted(run)
    write_inversion(found, folder)


@st.cache_data(show_spinner=False, max_entries=16)
def draw_inverted(png: str) -> Any:
    """Return pattern under its mask and, beside it, the mask, as one image (H, 2 W, 3) uint8."""
    import_library()
    from cleaner.data.images import decode_base64, decode_rgba, to_uint8
    from cleaner.inspection.inversion_patch import draw_layers
    from cleaner.models.framing import read_image_header

    content = decode_base64(png)
    side = read_image_header(content, "the inverted trigger").height
    return to_uint8(draw_layers(decode_rgba(content, side))[None])[0]


@st.cache_data(show_spinner=False, max_entries=16, hash_funcs=FILE_TIMES)
def draw_attack(folder: Path) -> Any:
    """Return the true trigger of a run on gray, and its mask, as `draw_inverted`; None if it changes no image."""
    from cleaner.data.images import to_uint8
    from cleaner.inspection.inversion_patch import draw_trigger

    run = load_run(folder)
    if run.trigger is None or "image" not in run.trigger.modalities:
        return None
    return to_uint8(draw_trigger(run.trigger, run.clip.image_size)[None])[0]
