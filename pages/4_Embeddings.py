"""Embeddings: images and texts as points, before and after poisoning and defense, in the same axes."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from cleaner.inspection.embedding_map import read_map
from cleaner.plots import features
from cleaner.plots.styles import find_style
from cleaner.runs.store import read_record
from pages._shared import cache
from pages._shared.inspect import before_after, pickers
from pages._shared.inspect.map_view import AXES, COLORINGS, KIND_STYLES, MapView, PointId, group_points
from pages._shared.inspect.pixels import enlarge
from pages._shared.inspect.plotly_charts import NO_MODE_BAR, read_selected_ids
from pages._shared.runs import job_requests
from pages._shared.runs.cancel import is_canceled, show_cancelable
from pages._shared.runs.ticker import tick
from pages._shared.shell import stage_mode, state, wording
from pages._shared.shell.fragments import fragment
from pages._shared.shell.frame import page
from pages._shared.shell.state import KEEP
from pages._shared.shell.wording import drop_rounded_zero, escape_markdown

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

LEAD = "**A backdoor moves triggered images into a group of their own**; a defense has to move them back."
CHART, SELECTED, DRAWN = "embeddings.map", "embeddings.selected", "embeddings.drawn"
RINGED, CLEARED = "embeddings.ringed", "embeddings.cleared"
BY_HAND = "embeddings.by_hand"
FIT_STARTED = "embeddings.fit_started"
KIND_SUFFIXES = {"image": "", "triggered": " · triggered", "caption": " · caption"}
METRIC_LABELS = {
    "trigger_pull": ("Trigger pull", "Mean gain in cosine with the target's text that the trigger causes; 0: none."),
    "silhouette": ("Silhouette", "Separation of triggered from clean images; 0: mixed, 1: separate."),
    "modality_gap": ("Modality gap", "Distance between the centers of images and captions."),
    "alignment": ("Alignment", "Squared distance between an image and its caption; lower is better."),
    "uniformity": ("Uniformity", "How evenly images fill the space; lower is more even."),
}
METRIC_DIGITS = 3
MAX_SHOWN_IMAGES, IMAGES_PER_ROW, MAX_CLASSES = 12, 3, 6


def load_map_view(stages: list[pickers.StageModel], method: str) -> MapView | None:
    """Return the map of some models, computed if it is missing; PCA until UMAP is fitted. None if it was canceled."""
    run = state.current_run()
    data = pickers.find_test_data(run)
    has_run = stages[-1].model[0] == "run"
    folder = Path(stages[-1].model[1])
    embedding_map = read_map(folder) if has_run else None
    if has_run:  # whose test data can be others than those of the run in view
        data = job_requests.read_test_data(read_record(folder))
    if embedding_map is None:
        data = pickers.require_data(data)
        work = ("map", str([s.model for s in stages]))
        if is_canceled(work):
            return None
        with show_cancelable("Encoding, first time only …", work) as on_step:
            if has_run:
                embedding_map = cache.make_map(folder, on_step)
            else:
                embedding_map = cache.make_model_map(stages[0].model, stages[0].stage, data, on_step)
    if method not in embedding_map.coordinates:
        if has_run:
            _fit_umap(folder)
        else:
            st.info("UMAP is available for runs only: showing PCA.")
        method = "pca"
    return MapView(embedding_map, method, data, pickers.find_trigger_run(run), stages[-1].defense)


def _fit_umap(folder: Path) -> None:
    """Fit the UMAP of a run in the background and show progress until it is there."""
    start_key = f"{FIT_STARTED}.{folder}"

    @fragment
    def watch() -> None:
        if (stored := read_map(folder)) is not None and "umap" in stored.coordinates:  # also of another session
            st.session_state.pop(start_key, None)
            st.rerun()
        if start_key not in st.session_state:
            st.session_state[start_key] = time.monotonic(), cache.fit_umap(folder)
        started, work = st.session_state[start_key]
        if work.is_running:
            seconds = time.monotonic() - started
            st.info(f"Fitting UMAP: {seconds:.0f} s. Showing PCA meanwhile.", icon=":material/hourglass_top:")
            tick("embeddings.tick")
            return
        st.session_state.pop(start_key)
        if work.error is None:
            st.rerun()
        raise work.error

    watch()


def choose_view(
    view: MapView, top: DeltaGenerator, right: DeltaGenerator
) -> tuple[int | None, int | None, list[str], str]:
    """Return (from: None without movement, to: None for all) as stage numbers, kinds and coloring."""
    labels = view.stage_labels
    options: dict[str, tuple[int | None, int | None]] = {label: (None, i) for i, label in enumerate(labels)}
    options |= {f"{a} → {b}": (i, i + 1) for i, (a, b) in enumerate(pairwise(labels))}
    if len(labels) > 1:
        options["All models"] = (None, None)
    default = labels[min(1, len(labels) - 1)]
    with top:
        option = state.choose_segment("Show", list(options), default=default, key=f"embeddings.show.{'.'.join(labels)}")
    before, after = options[option]
    if len(labels) > 1:
        help = f"A slider between two maps instead of arrows. Choose two models under Show: {labels[0]} → {labels[1]}."
        right.toggle("Before/after slider", key=BY_HAND, help=help, disabled=before is None, **KEEP)
    available = [kind for kind, count in view.map.counts.items() if count]
    kinds = right.pills(
        "Points",
        available,
        selection_mode="multi",
        default=[kind for kind in available if kind != "caption"],
        format_func=lambda kind: KIND_STYLES[kind].label,
        key=f"embeddings.kinds.{'.'.join(available)}",  # a choice without an option would lose it for all models
        wrap=True,
        **KEEP,
    )
    # Points of several models differ by model unless the user chooses otherwise.
    default_color, key = ("Model", "embeddings.color.all") if after is None else (COLORINGS[0], "embeddings.color")
    coloring = right.selectbox("Color by", COLORINGS, COLORINGS.index(default_color), key=key, **KEEP)
    return before, after, list(kinds), str(coloring)


def _select() -> None:
    """Store the selected points: a chart that is redrawn drops its selection."""
    if ids := read_selected_ids(CHART):  # a redrawn chart reports an empty selection by itself
        st.session_state[SELECTED] = (st.session_state.get(DRAWN), ids)


def _clear() -> None:
    st.session_state.pop(SELECTED, None)
    st.session_state.pop(RINGED, None)
    st.session_state[CLEARED] = st.session_state.get(CLEARED, 0) + 1


def _needs_rings(is_drawn_as_selected: bool) -> bool:
    """Return whether the map has to ring the selection: a chart that was away or redrawn has lost its own mark.

    Rings stay until the selection is cleared, as each change of them redraws the chart. Without them it is not redrawn
    by a selection, which keeps its zoom.
    """
    has_lost = CHART not in st.session_state or not read_selected_ids(CHART)
    st.session_state[RINGED] = st.session_state.get(RINGED, False) or has_lost or not is_drawn_as_selected
    return bool(st.session_state[RINGED])


@fragment
def show_map(view: MapView) -> None:
    """Draw the map, and the images and captions of the selected points."""
    top, (left, right) = st.container(), st.columns([2, 1], gap="medium")
    before, after, kinds, coloring = choose_view(view, top, right)
    stages = list(range(len(view.stage_labels))) if after is None else [after]
    groups = group_points(view, stages, kinds, coloring)
    arrows = None
    if before is not None and after is not None and kinds:
        starts, ends = (np.concatenate([view.coordinates(s, kind) for kind in kinds]) for s in (before, after))
        arrows = starts, ends
    points_key = (view.data, tuple(view.map.rows), tuple(view.map.prompts))
    view_key = (points_key, view.method, before, after, tuple(kinds), coloring)
    st.session_state[DRAWN] = view_key
    selected_in, ids = st.session_state.get(SELECTED, (view_key, []))
    selected = view.parse_ids(ids) if selected_in[0] == points_key else []  # other runs number other points
    ringed = selected if selected and _needs_rings(selected_in == view_key) else []
    marked = np.array([view.coordinates(s, kind)[row] for s in stages for kind, row in ringed if kind in kinds])
    coordinates = view.map.coordinates[view.method]
    bounds = (coordinates.min(0), coordinates.max(0))
    by_hand = bool(st.session_state.get(BY_HAND)) and before is not None
    with left:
        if before is not None and after is not None and by_hand:
            show_before_after(view, (before, after), kinds=kinds, coloring=coloring, selected=selected, bounds=bounds)
        else:
            figure = features.embedding_map(groups, AXES[view.method], arrows=arrows, marked=marked, bounds=bounds)
            figure.update_layout(meta=st.session_state.get(CLEARED, 0))  # another chart, which has no selection
            st.plotly_chart(
                stage_mode.enlarge(figure),
                key=CHART,
                on_select=_select,
                selection_mode=("points", "box", "lasso"),
            )
    with right:
        if selected or not by_hand:
            show_selected(view, selected)
    if view.method == "umap":
        st.warning("UMAP does not preserve distances, only neighborhoods.", icon=":material/straighten:")
    if view.map.target is not None and not view.map.counts["triggered"]:
        st.info(wording.TEXT_KEY_NOTE)
    n = sum(len(group.ids) for group in groups)
    st.caption(
        f"{n:,} of {len(coordinates):,} points. {view.method.upper()} fitted on all of them; trustworthiness "
        f"{view.map.trustworthiness[view.method]:.2f} (1: neighbors on the map are true neighbors; chance: 0.5). "
        "Images and texts are apart in every CLIP model (modality gap): judge by trigger pull, not by distance to a "
        "star."
    )


def show_before_after(
    view: MapView,
    stages: tuple[int, int],
    kinds: list[str],
    coloring: str,
    selected: list[PointId],
    bounds: tuple[Any, Any],
) -> None:
    """Draw the maps of two models under one slider."""
    before, after = (group_points(view, [stage], kinds, coloring) for stage in stages)
    first, second = (
        np.array([view.coordinates(s, kind)[row] for kind, row in selected if kind in kinds]) for s in stages
    )
    marks = (first, second) if len(first) else None
    before_after.show(
        "embeddings.before_after",
        (view.stage_labels[stages[0]], view.stage_labels[stages[1]]),
        (find_style(view.kind_of(stages[0])), find_style(view.kind_of(stages[1]))),
        [before_after.map_panel(before, after, bounds, marks=marks)],
    )


def show_selected(view: MapView, selected: list[PointId]) -> None:
    """Draw the images and captions of the selected points."""
    if not selected:
        st.caption("Select points with a click or lasso to see their images and captions.")
        return
    by_kind = [[point for point in selected if point[0] == kind] for kind in KIND_STYLES]
    selected = [point for row in zip_longest(*filter(None, by_kind)) for point in row if point]  # kinds alternate
    classes = Counter(view.class_of(kind, row) for kind, row in selected)
    common = ", ".join(f"{escape_markdown(name)} {count}" for name, count in classes.most_common(MAX_CLASSES))
    st.markdown(f"**Points selected: {len(selected)}.** Most frequent: {common}.")
    st.button("Clear selection", key="embeddings.clear", icon=":material/close:", on_click=_clear)
    for start in range(0, min(len(selected), MAX_SHOWN_IMAGES), IMAGES_PER_ROW):
        for column, point in zip(st.columns(IMAGES_PER_ROW), selected[start : start + IMAGES_PER_ROW], strict=False):
            with column:
                _show_point(view, *point)
    if any(kind != "prompt" for kind, _ in selected) and not view.matches_data():
        st.caption(":material/warning: The data have changed since this map was made: restore them to see the images.")
    if len(selected) > MAX_SHOWN_IMAGES:
        with st.expander(f"All {len(selected)}"):
            table = [
                (KIND_STYLES[kind].label, view.class_of(kind, row), "" if kind == "prompt" else view.text_of(kind, row))
                for kind, row in selected
            ]
            st.dataframe(pd.DataFrame(table, columns=["Kind", "Class", "Caption"]), hide_index=True)


def _show_point(view: MapView, kind: str, row: int) -> None:
    """Draw one point: the text of a prompt, else image and caption."""
    text = escape_markdown(view.text_of(kind, row))
    if kind == "prompt":
        st.markdown(f":material/title: **{text}**")
        return
    if view.matches_data():
        load = cache.image_pair_pixels if kind == "triggered" else cache.clean_image_pixels
        alt = view.class_of(kind, row) + (", triggered" if kind == "triggered" else "")
        st.image(enlarge(load(view.sample(row), view.trigger_run)[-1], 128), width="stretch", alt=alt)
    st.caption(text + KIND_SUFFIXES[kind])


def show_metrics(view: MapView) -> None:
    """Draw the embedding metrics of each model, and how far points moved between models."""
    st.header("Metrics", anchor=False)
    values = {
        label: {name: drop_rounded_zero(value, METRIC_DIGITS) for name, value in metrics.items()}
        for label, metrics in zip(view.stage_labels, view.map.metrics, strict=True)
    }
    table = [
        {"Metric": label, **{stage: metrics.get(name) for stage, metrics in values.items()}, "Meaning": meaning}
        for name, (label, meaning) in METRIC_LABELS.items()
        if any(name in metrics for metrics in values.values())
    ]
    columns = {label: st.column_config.NumberColumn(format=f"%.{METRIC_DIGITS}f") for label in values}
    st.dataframe(pd.DataFrame(table), hide_index=True, column_config=columns)
    st.caption(
        f"n = {len(view.map.rows)} test images with one class ({escape_markdown(view.map.data)}) and their captions, "
        "in the models' full space. Trigger pull and silhouette leave out the target class."
    )
    for number, ((before, after), shifts) in enumerate(zip(pairwise(view.stage_labels), view.map.shifts, strict=True)):
        st.markdown(f"**Feature shift: {before} → {after}**")
        bars = {KIND_STYLES[kind].label: (KIND_STYLES[kind].color, shift) for kind, shift in shifts.items()}
        st.plotly_chart(features.shift_histogram(bars), key=f"embeddings.shift.{number}", config=NO_MODE_BAR)


with page("Embeddings", LEAD, picture=":is(.st-key-embeddings-map, .st-key-embeddings-before_after)"):
    left, middle, right = st.columns([1.2, 1, 0.6], gap="medium", vertical_alignment="center")
    left.header(wording.section_title("Map of all models", state.current_run()), anchor=False)
    with middle:
        stages = pickers.choose_stages(state.current_run(), label_visibility="collapsed")
    with right:
        method = state.choose_segment(
            "Projection",
            list(AXES),
            format_func=str.upper,
            key="embeddings.method",
            help="Fitted once on all models. PCA: the two directions of most variance. UMAP: preserves neighborhoods.",
            is_label_hidden=True,
        )
    view = load_map_view(stages, method)
    if view is not None:
        show_map(view)
        show_metrics(view)
        if view.map.rows:
            cache.warm_images(view.sample(0), view.trigger_run)
    pickers.show_provenance(stages)
