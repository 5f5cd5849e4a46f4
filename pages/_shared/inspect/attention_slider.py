"""Attention before and after by hand: the attribution of two models, and their maps, under one slider."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from cleaner.inspection.embedding_map import read_map
from cleaner.plots import images
from cleaner.plots.styles import find_style
from cleaner.runs.store import read_record
from pages._shared.inspect import before_after
from pages._shared.inspect.map_view import MapView, group_points
from pages._shared.inspect.pickers import StageModel
from pages._shared.inspect.pixels import enlarge
from pages._shared.inspect.sample import Sample
from pages._shared.runs import job_requests
from pages._shared.shell.state import choose_segment

MAP_KINDS = ("image", "triggered")
OUTLINE_SCALE = 4
"""Pixels of the outline per pixel of the mask."""


def show(
    stages: list[StageModel],
    maps: dict[str, list[Any]],
    pair: Any,
    mask: Any,
    sample: Sample,
    *,
    is_signed: bool,
    strength: float,
) -> None:
    """Draw two models' maps of the clean and the triggered image under one slider; mask: to outline, or None."""
    pairs = {f"{a.label} | {b.label}": (a, b) for a, b in pairwise(stages)}
    names = list(pairs)
    shown = pairs[choose_segment("Models", names, default=names[-1], key="attention.pair")]
    largest = images.find_scale_end([m for stage in shown for m in maps[stage.label]], is_signed=is_signed)
    outline = [] if mask is None else [images.draw_outline(mask, OUTLINE_SCALE)]
    panels = []
    for row, title in reversed(list(enumerate(("Clean image", "Triggered image")[: len(pair)]))):
        stacks = [
            [
                enlarge(pair[row]),
                images.draw_overlay(maps[stage.label][row], largest, is_signed=is_signed, strength=strength),
                *outline,
            ]
            for stage in shown
        ]
        panels.append(before_after.image_panel(stacks[0], stacks[1], title))
    if (panel := _make_map_panel(stages, shown, sample)) is not None:
        panels.append(panel)
    before_after.show(
        "attention.before_after",
        (shown[0].label, shown[1].label),
        (find_style(shown[0].kind), find_style(shown[1].kind)),
        panels,
    )
    has_ring = panel is not None and any(layer["marks"] for layer in panel["layers"])
    ring = " Ring: this image." if has_ring else ""
    colors = "red counts for the text, blue against it" if is_signed else "the redder a pixel, the more it counts"
    st.caption(f"Drag the line. Overlay: {colors}. Images share their zoom: buttons, or the wheel after a click.{ring}")


def _make_map_panel(
    stages: list[StageModel], shown: tuple[StageModel, StageModel], sample: Sample
) -> before_after.Panel | None:
    """Return the saved map of the two models, with this image ringed; None if the last run has no map yet."""
    kind, source = stages[-1].model[:2]
    embedding_map = read_map(Path(source)) if kind == "run" else None
    if embedding_map is None or not {stage.stage for stage in shown} <= set(embedding_map.stages):
        return None
    view = MapView(embedding_map, "pca", sample.data, None)
    numbers = [embedding_map.stages.index(stage.stage) for stage in shown]
    before, after = (group_points(view, [number], MAP_KINDS, "Kind") for number in numbers)
    is_of_map = (
        sample.data == job_requests.read_test_data(read_record(Path(source)))
        and sample.index in embedding_map.rows
        and view.matches_data()
    )
    row = embedding_map.rows.index(sample.index) if is_of_map else None
    marks = None
    if row is not None and sample.own_image is None:
        kinds = [kind for kind in MAP_KINDS if embedding_map.counts.get(kind)]
        rings = [np.array([view.coordinates(number, kind)[row] for kind in kinds]) for number in numbers]
        marks = (rings[0], rings[1])
    coordinates = embedding_map.coordinates["pca"]
    return before_after.map_panel(before, after, (coordinates.min(0), coordinates.max(0)), "Map of the images", marks)
