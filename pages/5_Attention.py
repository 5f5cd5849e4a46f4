"""Attention: which pixels and words make an image similar to a text, with and without the trigger."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from cleaner.config import parameters
from cleaner.labels import format_count, to_label
from cleaner.plots import images
from cleaner.runs.record import RunRecord
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.inspect import attention_slider, pickers
from pages._shared.inspect.pickers import StageModel
from pages._shared.inspect.pixels import enlarge
from pages._shared.inspect.plotly_charts import NO_MODE_BAR
from pages._shared.inspect.sample import Sample
from pages._shared.runs import forms
from pages._shared.runs.cancel import allow_again, is_canceled, show_cancelable
from pages._shared.shell import stage_mode, state, uploads, wording
from pages._shared.shell.frame import page
from pages._shared.shell.progress import show_progress
from pages._shared.shell.state import KEEP
from pages._shared.shell.wording import drop_rounded_zero, escape_markdown, format_percent

LEAD = "In a backdoored model, **the trigger can outweigh the object**: compare the maps with and without it."
ADDED = "The trigger adds"
IMAGE_COUNTS = (32, 64, 128, 256)
OUTLINE_MAX_AREA = 0.5
"""Share of the image up to which a trigger has a place that can be outlined."""
Attributions = dict[str, tuple[Any, list[float]]]
"""Stage label -> maps (1 or 2, H, W) and cosines, clean and triggered."""


def choose_method(stages: list[StageModel]) -> tuple[str, dict[str, Any]]:
    """Draw the choice of an explainer that supports all models; return its name and settings."""
    kinds = cache.explainers()
    supported, default = cache.list_explainers([s.model for s in stages])
    key = f"attention.method.{'.'.join(supported)}.{default}"  # large images start with another method
    method = forms.choose_method("Method", supported, default, key=key, help="Methods that support these models.")
    st.caption(escape_markdown(kinds[method].describe()))
    support = cache.check_explainer(stages[0].model, method)
    settings: dict[str, Any] = {}
    with st.expander("Layer, head and more", expanded=bool(support.limits)):
        for p in parameters(kinds[method]):
            p = replace(p, high=support.limits.get(p.name, p.high))
            key = f"attention.{method}.{p.name}.{p.high}"
            settings[p.name] = forms.draw_widget(p, key, p.default, image_side=cache.image_size(stages[0].model))
    if size := cache.check_explainer(stages[0].model, method, settings).grid_size:
        st.caption(f"Resolution: {size} × {size} cells, interpolated.")
    return method, settings


def show_maps(
    stages: list[StageModel],
    attributions: Attributions,
    sample: Sample,
    trigger_run: Path | None,
    *,
    method: str,
    strength: float,
) -> None:
    """Draw the images under their maps, and the numbers of this image."""
    pair, mask = cache.image_pair_pixels(sample, trigger_run), cache.trigger_mask(sample, trigger_run)
    outline = mask if mask is not None and 0 < mask.mean() <= OUTLINE_MAX_AREA else None
    is_signed = cache.explainers()[method].is_signed
    with st.container(horizontal=True):
        raw = st.toggle(
            "Absolute values",
            key="attention.raw",
            **KEEP,
            help="Off: each map in percent of its sum, to compare places. On: values as computed, to compare models.",
        )
        by_hand = len(stages) > 1 and st.toggle("Before/after slider", key="attention.by_hand", **KEEP)
    if by_hand:
        maps = {label: [_normalize_map(values, raw) for values in made] for label, (made, _) in attributions.items()}
        attention_slider.show(stages, maps, pair, outline, sample, is_signed=is_signed, strength=strength)
    else:
        _show_grid(stages, attributions, pair, outline, method=method, raw=raw, strength=strength)
    if trigger_run is None or len(pair) == 1:
        table = pd.DataFrame([{"Model": s.label, "Similarity": attributions[s.label][1][0]} for s in stages])
        column = st.column_config.NumberColumn(format="%.2f")
        st.dataframe(table, hide_index=True, column_config={"Similarity": column})
        st.caption("Similarity: cosine of image and text. One image, n = 1.")
    else:
        _show_trigger_table(stages, attributions, sample, trigger_run, outline)


def _show_grid(
    stages: list[StageModel],
    attributions: Attributions,
    pair: Any,
    outline: Any,
    *,
    method: str,
    raw: bool,
    strength: float,
) -> None:
    """Draw the maps of all models side by side; outline: mask (H, W) or None."""
    rows = ["Clean image", "Triggered image"][: len(pair)]
    order = list(reversed(range(len(rows))))  # the triggered image first: there the models differ
    explainer = cache.explainers()[method]
    figure = images.attribution_grid(
        [enlarge(pair[row]) for row in order],
        [[_normalize_map(attributions[s.label][0][row], raw) for s in stages] for row in order],
        [rows[row] for row in order],
        [(s.label, s.kind) for s in stages],
        is_signed=explainer.is_signed,
        is_for_text=explainer.uses_target,
        unit="Attribution per pixel" if raw else "Attribution of a pixel, % of the image",
        strength=strength,
        masks=[outline] * len(rows),
    )
    # The style sheet lets the maps grow with the window, stage mode sets a height of its own.
    with st.container(key=f"attention-rows-{len(rows)}"):
        st.plotly_chart(
            stage_mode.enlarge(figure),
            height="content" if stage_mode.is_on() else "stretch",
            key="attention.grid",
            config=NO_MODE_BAR,
        )


def _show_trigger_table(
    stages: list[StageModel], attributions: Attributions, sample: Sample, trigger_run: Path, outline: Any
) -> None:
    """Draw the similarity and trigger share of each model, clean and triggered; outline: mask (H, W) or None."""
    table = []
    for s in stages:
        maps, cosines = attributions[s.label]
        row = {
            "Model": s.label,
            "Similarity, clean": cosines[0],
            "Similarity, triggered": cosines[1],
            ADDED: drop_rounded_zero(cosines[1] - cosines[0], 2),
        }
        shares = cache.shares(maps, sample, trigger_run)
        if shares.is_localized:
            row["Share, clean"] = format_percent(_none_if_nan(shares.clean[0]))
            ratio = _format_ratio(shares.triggered[0], shares.area)
            row["Share, triggered"] = f"{format_percent(_none_if_nan(shares.triggered[0]))}{ratio}"
        else:
            row["Cosine of maps"] = shares.similarity[0]
        table.append(row)
    formats = {
        name: "%+.2f" if name == ADDED else "%.2f" for name, value in table[0].items() if isinstance(value, float)
    }
    columns = {name: st.column_config.NumberColumn(format=format) for name, format in formats.items()}
    st.dataframe(pd.DataFrame(table), hide_index=True, column_config=columns)
    if outline is not None:
        st.caption(
            "Similarity: cosine of image and text. Share: positive attribution inside the outline, which covers "
            f"{format_percent(float(outline.mean()))} of the image; ×: ratio to this area. “Not measured”: no positive "
            "attribution. One image, n = 1."
        )
        return
    st.caption(
        "No share: this trigger covers over half of the image. "
        "Cosine of maps: 1 means the same attribution with and without trigger; empty: no positive attribution. "
        "One image, n = 1."
    )


def _normalize_map(attribution: Any, raw: bool) -> Any:
    """Return a map (H, W) unchanged, or in percent of its sum of absolute values."""
    return attribution if raw else 100 * attribution / max(float(abs(attribution).sum()), 1e-12)


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def _format_ratio(share: float, area: float) -> str:
    if math.isnan(share) or not area:
        return ""
    ratio = share / area
    return f" (× {ratio:.{0 if ratio >= 10 else 1}f})"


def show_distribution(
    stages: list[StageModel], sample: Sample, run: RunRecord, method: str, settings: dict[str, Any], *, text: str
) -> None:
    """Draw the trigger share over many test images, once requested."""
    st.header("Over the test set", anchor=False)
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        n = _choose_image_count(sample, run)
    work = ("attribution", run.id, method, str(settings), text, str(n), str([s.model for s in stages]))
    if right.button("Measure", key="attention.measure", icon=":material/monitoring:", width="stretch"):
        st.session_state["attention.request"] = work
        allow_again(work)
    if st.session_state.get("attention.request") != work:
        st.caption(f"Measure runs {to_label(method)} on {n} images of other classes, clean and triggered.")
        return
    if is_canceled(work):
        return
    with show_cancelable("Measuring …", work) as on_step:
        results = [
            cache.shares_over(s.model, method, settings, sample.data, run.folder, text=text, n=n, _on_step=on_step)
            for s in stages
        ]
    _show_distribution_chart(stages, results)
    counts = [sum(map(math.isnan, r.clean + r.triggered + r.similarity)) for r in results]
    skipped = "; ".join(f"{s.label} {count}" for s, count in zip(stages, counts, strict=True) if count)
    st.caption(
        f"n = {len(results[0].triggered or results[0].similarity)} test images of classes other than the target, "
        f"{escape_markdown(sample.data.name)}/test, text “{escape_markdown(text)}”, {to_label(method)}."
        + (f" Maps without positive attribution, left out: {skipped}." if skipped else "")
    )


def _choose_image_count(sample: Sample, run: RunRecord) -> int:
    """Draw the choice of how many of the test images of other classes to measure on; return it."""
    data = cache.load_data(sample.data)
    names = data.class_names  # the user's data may not have the target class
    target = names.index(run.target_class) if run.target_class in names else -1
    is_other = (data.labels >= 0) & (data.labels != target)
    most = min(int(is_other.sum()), IMAGE_COUNTS[-1])
    counts = [*(count for count in IMAGE_COUNTS if count < most), most]
    if len(counts) == 1:  # a slider needs two
        return most
    return int(st.select_slider("Test images", counts, most, key=f"attention.n.{most}", **KEEP))


def _show_distribution_chart(stages: list[StageModel], results: list[Any]) -> None:
    """Draw the distribution of the trigger share, or of the cosine of maps if the trigger has no place."""
    pairs = list(zip(stages, results, strict=True))
    if results[0].is_localized:
        values = {s.label: (s.kind, _drop_nan(r.clean), _drop_nan(r.triggered)) for s, r in pairs}
        axis, area, tick_format = "Share of attribution inside the trigger", results[0].area, ".0%"
    else:
        values = {s.label: (s.kind, [], _drop_nan(r.similarity)) for s, r in pairs}
        axis, area, tick_format = "Cosine of the maps with and without trigger", None, ".2f"
    chart = images.share_distribution(values, axis, area, tick_format=tick_format)
    st.plotly_chart(chart, key="attention.spread", config=NO_MODE_BAR)


def _drop_nan(values: list[float]) -> list[float]:
    return [v for v in values if not math.isnan(v)]


def show_word_attribution(stages: list[StageModel], sample: Sample, trigger_run: Path | None, caption: str) -> None:
    """Draw what each word of the text adds to the similarity."""
    st.header("Word attribution", anchor=False)
    try:
        with show_progress("Computing attributions …") as on_step:
            results = [cache.word_attribution(s.model, sample, trigger_run, caption, on_step) for s in stages]
    except CleanerError as error:  # here, so that the names of the models below stay
        st.info(escape_markdown(wording.capitalize_message(str(error))))
        return
    row, note = 0, ""
    if len(results[0][1]) > 1:
        options = ["Clean image", "Triggered image"]
        row = options.index(state.choose_segment("Words on", options, default=options[1], key="attention.words"))
        note = f", {options[row].split()[0].lower()}"
    bars = {s.label: (s.kind, values[row]) for s, (_, values) in zip(stages, results, strict=True)}
    st.plotly_chart(images.word_bars(results[0][0], bars), key="attention.word_bars", config=NO_MODE_BAR)
    st.caption(
        "Integrated gradients, starting from an equally long caption of “!” (CLIP's token 0): the bars of a "
        f"model add up to the similarity that the caption gains over it. One image, n = 1{note}."
    )


with page("Attention", LEAD, picture=":is(.st-key-attention-grid, .st-key-attention-before_after)"):
    run = state.current_run()
    trigger_run = pickers.find_trigger_run(run)
    left, right = st.columns([1, 3], gap="large")
    with left, st.spinner("Loading models …"):
        stages = pickers.drop_missing_clean_model(pickers.choose_stages(run))
        sample = pickers.choose_sample(run)
        text = pickers.choose_text(run, sample)
        if (read := cache.cut_to_context(stages[0].model, text)) != text:
            words = format_count(len(read.split()), "words")
            st.caption(f":material/warning: The model reads only the first {words}.")
        method, settings = choose_method(stages)
        strength = st.slider("Overlay strength", 0.2, 1.0, 0.85, 0.05, key="attention.strength", **KEEP)
        uploads.show_upload_box()
    with right:
        with show_progress("Computing attributions …") as on_step:
            attributions = {
                s.label: cache.attribution(s.model, method, settings, sample, trigger_run, text=text, _on_step=on_step)
                for s in stages
            }
        st.header(wording.section_title("Pixel attribution", run), anchor=False)
        show_maps(stages, attributions, sample, trigger_run, method=method, strength=strength)
        has_triggered_image = len(attributions[stages[0].label][1]) > 1
        if trigger_run is not None and not has_triggered_image:
            st.info(wording.TEXT_KEY_NOTE)
        if run is not None and has_triggered_image:
            show_distribution(stages, sample, run, method, settings, text=text)
        show_word_attribution(stages, sample, trigger_run, text)
        pickers.show_provenance(stages)
