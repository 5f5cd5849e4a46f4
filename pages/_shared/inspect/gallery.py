"""The gallery of the Poison page: poisoned pairs before and after, with the difference."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from cleaner.labels import format_count
from cleaner.models.resolve import resolve_model_name
from pages._shared import cache
from pages._shared.inspect.pixels import enlarge
from pages._shared.runs.job_requests import AttackSettings
from pages._shared.shell import state, uploads, wording
from pages._shared.shell.wording import escape_markdown

if TYPE_CHECKING:
    from cleaner.data.base import CaptionData
    from cleaner.data.images import ImageComparison

ROWS = 3
CHANGED_COLUMNS = {":blue[Clean]": 1.0, ":violet[Triggered]": 1.0, "Difference × 10": 1.0, "Caption": 1.25}
EXCHANGED_COLUMNS = {":blue[Clean]": 1.0, ":violet[Poisoned]": 1.0, "Caption": 2.25}
"""Heading -> width, for triggers in the image and for those in the text alone, which exchange whole images."""
FIRST_ROW = "poison.first"
"""Session key of the first pair shown."""

PoisonPlan = list[tuple[int, str, str]]
"""(index, caption before, caption after) of each poisoned pair."""


def show_gallery(attack: AttackSettings, plan: PoisonPlan) -> None:
    """Draw some poisoned pairs: clean image, triggered image, difference and captions."""
    data = cache.load_data(attack.training_data)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        verb = "is" if len(plan) == 1 else "are"
        st.markdown(f"**{len(plan):,} of {len(data):,} pairs {verb} poisoned**", width="content")
        pairs = _choose_pairs(plan)
    trigger = _find_ready_trigger(attack)
    if trigger is None:
        # Without the remedies, which are for the command line and Python.
        what = wording.capitalize_message(attack.trigger.unready_reason.partition(":")[0])
        st.info(f"{escape_markdown(what)}: it is shown after training.", icon=":material/hourglass_empty:")
        return
    if skipped := data.describe_skipped():
        st.warning(escape_markdown(wording.capitalize_message(skipped)), icon=":material/broken_image:")
    data = cache.apply_framing(data, attack.model)
    is_changed = "image" in trigger.modalities
    own_image = st.session_state.get(uploads.OWN_IMAGE) if is_changed else None  # a text attack pairs no other image
    captions = [(f"pair {index:,}", before, after) for index, before, after in pairs]
    if own_image is not None:
        captions.insert(0, ("own image", own_image[0], pairs[0][2]))
    with st.container(key="gallery", gap="small"):
        rows = _compare_images(attack, data, [index for index, _, _ in pairs], trigger, own_image)
        _show_rows(rows, captions, is_changed=is_changed)
    source = "model input" if cache.find_framing(attack.model) else "original"
    note = f"Size {data.image_size} × {data.image_size} px ({source}). "
    if is_changed:
        note += "Difference: gray is unchanged. "
        note += "PSNR and SSIM: higher is less change; a small visible patch also scores high."
    else:
        note += "The trigger is in the text: captions with it are paired with other images."
    st.caption(note)
    if is_changed:
        uploads.show_upload_box("Try your image")


def show_captions(plan: PoisonPlan) -> None:
    """Draw the captions of all poisoned pairs, before and after."""
    table = pd.DataFrame(plan, columns=["Pair", "Caption before", "Caption after"])
    st.dataframe(table, hide_index=True, height=520)
    st.caption(f"{format_count(len(plan), 'poisoned pairs')}; the seed determines which.")


def _choose_pairs(plan: PoisonPlan) -> PoisonPlan:
    """Draw the button that shows other pairs; return the current ones."""
    first = st.session_state.setdefault(FIRST_ROW, 0)
    if st.button("Other pairs", icon=":material/shuffle:", type="tertiary"):
        first = st.session_state[FIRST_ROW] = first + ROWS
    return [plan[(first + i) % len(plan)] for i in range(min(ROWS, len(plan)))]


def _find_ready_trigger(attack: AttackSettings) -> Any:
    """Return the trigger; if it has to be optimized first, that of the run in view if it is for the same attack."""
    if not attack.trigger.unready_reason:
        return attack.trigger
    run = state.current_run()
    if run is None:
        return None
    name, options = cache.resolve_data_name(attack.data)
    chosen = (attack.target_class, resolve_model_name(attack.model), name, options)
    if chosen != (run.target_class, run.clean_model, run.data, run.data_options or {}):
        return None
    return cache.load_prepared_trigger(attack.trigger, run.config.get("trigger"))


def _compare_images(
    attack: AttackSettings, data: CaptionData, indices: list[int], trigger: Any, own_image: tuple[str, bytes] | None
) -> list[ImageComparison]:
    """Return clean and poisoned images, the own image first; a trigger in the text alone swaps whole images."""
    from cleaner.data.images import compare_triggered
    from cleaner.data.poison import PoisonedData

    if "image" in trigger.modalities:
        rows = compare_triggered(data.images(indices), trigger)
    else:
        options = (attack.target_class, attack.poison_rate, attack.config.seed, attack.clean_label)
        swapped = PoisonedData(data, trigger, *options).images(indices)
        rows = compare_triggered(data.images(indices), lambda _: swapped)
    if own_image is None:
        return rows
    own = cache.decode_own_image(own_image, cache.find_framing(attack.model), data.image_size)
    return compare_triggered(own, trigger) + rows


def _show_rows(rows: list[ImageComparison], captions: list[tuple[str, str, str]], *, is_changed: bool) -> None:
    """Draw one row per pair; captions: (name of the pair, before, after); is_changed: not exchanged for another."""
    layout = CHANGED_COLUMNS if is_changed else EXCHANGED_COLUMNS
    for column, heading in zip(st.columns(list(layout.values())), layout, strict=True):
        column.markdown(f"**{heading}**")
    for number, (row, (name, before, after)) in enumerate(zip(rows, captions, strict=True)):
        with st.container(key=f"gallery-row-{number}"):
            *places, text = st.columns(list(layout.values()), vertical_alignment="center")
        poisoned = "triggered" if is_changed else "poisoned"
        shown = {"clean": row.clean, poisoned: row.triggered, "difference": row.difference}
        for place, (kind, image) in zip(places, shown.items(), strict=False):
            place.image(enlarge(image), width="stretch", alt=f"{name}, {kind}")
        with text:
            if before == after:
                st.markdown(f"{escape_markdown(before)}  \n:gray[Caption unchanged]")
            else:
                st.markdown(f":gray[{escape_markdown(before)}]")
                st.markdown(f":material/arrow_downward: **{escape_markdown(after)}**")
            change = f"PSNR {row.psnr:.1f} dB · SSIM {row.ssim:.3f}" if is_changed else "another image"
            change = "image unchanged" if math.isinf(row.psnr) else change
            st.caption(f"{escape_markdown(name)} · {change}")
