"""Embeddings: pictures and texts as points, before and after the poisoning and the defence, in the same axes."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from cleaner.inspection import embedding_map
from cleaner.jobs import map_worker
from cleaner.plots import charts, images
from cleaner.types import CleanerError, StepReport
from pages._shared import cache, gallery, pickers, state
from pages._shared.frame import page
from pages._shared.state import KEEP, escape_markdown

LEAD = (
    "A model turns every picture and every text into a point. **A backdoor pulls pictures with the trigger to the "
    "target's text**; a defence has to let them go again. All models share one map, so that points can be followed."
)
CHART, SELECTED = "embeddings.map", "embeddings.selected"
KIND_STYLES = {
    "image": ("Clean images", "#56B4E9", "circle"),
    "triggered": ("Images with trigger", "#CC79A7", "diamond"),
    "caption": ("Captions", "#E69F00", "square"),
    "prompt": ("Class prompts", "#7F8894", "star"),
}
CAPTION_SUFFIXES = {"image": "", "triggered": " · with trigger", "caption": " · this caption"}
COLORINGS = ("Kind", "Class", "Model", "Success of the trigger")
AXES = {
    "pca": ("Direction of most variation (cosine space)", "Second direction"),
    "umap": ("UMAP 1 (no unit)", "UMAP 2 (no unit)"),
}
METRIC_LABELS = {
    "trigger_pull": ("Trigger pull", "How far the trigger pulls pictures to the target's text; 0: not."),
    "silhouette": ("Silhouette", "Do pictures with trigger stand apart? 0: mixed, 1: apart."),
    "modality_gap": ("Modality gap", "Distance of the centres of pictures and captions."),
    "alignment": ("Alignment", "Squared distance of picture and own caption; lower is better."),
    "uniformity": ("Uniformity", "How evenly pictures fill the space; lower is more even."),
}


@dataclass(frozen=True)
class MapView:
    """A map as it is shown: by one method, with the run whose trigger is on its pictures."""

    map: embedding_map.EmbeddingMap
    method: str
    data: str
    size: int
    trigger_run: Path | None

    @cached_property
    def stage_labels(self) -> list[str]:
        return [stage.capitalize() for stage in self.map.stages]

    def coordinates(self, stage: int, kind: str) -> Any:
        """Return the places of one kind in one model, (n, 2)."""
        return self.map.get_coordinates(self.method, stage, kind)

    def class_of(self, kind: str, i: int) -> str:
        """Return the class of a point."""
        return self.map.class_names[self.map.prompts[i] if kind == "prompt" else self.map.labels[i]]

    def text_of(self, kind: str, i: int) -> str:
        """Return the words that belong to a point."""
        return self.class_of(kind, i) if kind == "prompt" else self.map.captions[i]


def load_map_view(stages: list[pickers.Stage]) -> MapView:
    """Draw the choice of the projection; return all points with their places."""
    run = state.current_run()
    name, size = pickers.find_test_data(run)
    method = str(
        st.segmented_control(
            "Projection",
            list(AXES),
            default="pca",
            format_func=str.upper,
            key="embeddings.method",
            **KEEP,
            help="Fitted once on the points of all models together. PCA: the two directions with most variation. "
            "UMAP: near points stay near.",
        )
        or "pca"
    )
    place = st.empty()

    def tell(report: StepReport) -> None:
        what = "Asking the models" if report.stage == "map" else "Getting the pictures ready"
        place.progress(report.step / max(report.total, 1), text=f"{what}, once: about {report.eta:.0f} s left")

    kept = stages[-1].model[0] == "run"
    folder = Path(stages[-1].model[1])
    parent = folder if run is None else run.folder
    found = cache.read_map(folder) if kept else None
    if found is None:
        with st.spinner("Asking the models, once …"):
            if kept:
                found = cache.make_map(folder, parent, tell)
            else:
                found = cache.make_model_map(stages[0].model, stages[0].stage, name, size, tell)
    place.empty()
    if method not in found.coordinates:
        if kept:
            _fit_umap(folder, parent)
        else:
            st.info("UMAP is kept with a run, and this model belongs to none: PCA is shown.")
        method = "pca"
    return MapView(found, method, name, size, pickers.find_trigger_run(run))


def _fit_umap(folder: Path, parent: Path) -> None:
    """Let UMAP be fitted for a run that has none yet, and say so until it is there."""

    @st.fragment(run_every=1.0)
    def watch() -> None:
        busy = cache.fit_umap(folder, parent)
        since = st.session_state.setdefault("embeddings.since", time.monotonic())
        if busy:
            st.info(
                f"UMAP is being fitted, once for this run: {time.monotonic() - since:.0f} s so far. PCA is "
                "shown meanwhile.",
                icon=":material/hourglass_top:",
            )
            return
        st.session_state.pop("embeddings.since", None)
        found = cache.read_map(folder)
        if found is not None and "umap" in found.coordinates:
            st.rerun()
        raise CleanerError(
            f"UMAP could not be fitted ({map_worker.read_last_log_line(folder)}): choose PCA, or try again."
        )

    watch()


def choose_view(world: MapView) -> tuple[int | None, int | None, list[str], str]:
    """Draw which models, kinds and colours are shown; return (from, to) as stage numbers, kinds and colouring."""
    labels = world.stage_labels
    moves = {f"{a} → {b}": (labels.index(a), labels.index(b)) for a, b in pairwise(labels)}
    options: dict[str, tuple[int | None, int | None]] = {label: (None, i) for i, label in enumerate(labels)}
    options |= moves
    if len(labels) > 1:
        options["All models"] = (None, None)
    start = labels[min(1, len(labels) - 1)]
    chosen = st.segmented_control("Show", list(options), default=start, key="embeddings.show", **KEEP) or start
    left, right = st.columns([2, 1])
    there = [kind for kind, count in world.map.counts.items() if count]
    kinds = left.pills(
        "Points",
        there,
        selection_mode="multi",
        default=[k for k in there if k != "caption"],
        format_func=lambda kind: KIND_STYLES[kind][0],
        key="embeddings.kinds",
        **KEEP,
    )
    coloring = right.selectbox("Colour by", COLORINGS, key="embeddings.color", **KEEP)
    before, after = options.get(str(chosen), options[start])
    return before, after, list(kinds), str(coloring)


def groups(world: MapView, stages: list[int], kinds: list[str], coloring: str) -> list[images.PointGroup]:
    """Return the points of some models as groups of one colour each."""
    found: dict[tuple[str, str, str, bool], list[tuple[Any, str, str]]] = {}
    for stage, kind in product(stages, kinds):
        word, color, symbol = KIND_STYLES[kind]
        for i, place in enumerate(world.coordinates(stage, kind)):
            look = (word, color, symbol, False)
            if coloring == "Class":
                index = world.map.prompts[i] if kind == "prompt" else world.map.labels[i]
                look = (world.class_of(kind, i), *images.class_style(index), False)
            elif coloring == "Model":
                color = charts.STAGE_COLORS[world.map.stages[stage]]
                look = (f"{world.stage_labels[stage]}: {word.lower()}", color, symbol, False)
            elif coloring == COLORINGS[3]:
                look = _success_style(world, stage, kind, i)
            elif kind == "prompt" and world.map.prompts[i] == world.map.target:
                look = (
                    f"Prompt of the target: {world.class_of(kind, i)}",
                    charts.STAGE_COLORS["trigger"],
                    symbol,
                    False,
                )
            found.setdefault(look, []).append((place, f"{kind}:{i}", f"{word}: {world.text_of(kind, i)}"))
    return [
        images.PointGroup(
            name,
            color,
            symbol,
            np.array([p for p, _, _ in points]),
            [i for _, i, _ in points],
            [t for _, _, t in points],
            faint,
        )
        for (name, color, symbol, faint), points in found.items()
    ]


def _success_style(world: MapView, stage: int, kind: str, i: int) -> tuple[str, str, str, bool]:
    """Return the look of a point by whether the trigger works on it; it cannot on a picture of the target itself."""
    word, _, symbol = KIND_STYLES[kind]
    if kind != "triggered":
        return word, KIND_STYLES["prompt"][1], symbol, True
    if world.map.labels[i] == world.map.target:
        return f"{word}, of the target itself", KIND_STYLES["prompt"][1], symbol, True
    if world.map.attack_success[stage][i]:
        return "Trigger works: taken for the target", charts.STAGE_COLORS["backdoored"], symbol, False
    return "Trigger does not work", charts.STAGE_COLORS["defended"], symbol, False


def _select() -> None:
    """Keep what was lassoed or clicked: the chart forgets it whenever it is drawn with other points."""
    points = st.session_state[CHART]["selection"]["points"]
    ids = [p["customdata"] for p in points if "customdata" in p]
    ids = [i["0"] if isinstance(i, dict) else i[0] if isinstance(i, list) else i for i in ids]
    if ids:  # a chart that is drawn anew reports an empty selection of its own accord
        st.session_state[SELECTED] = (st.session_state.get("embeddings.drawn"), list(dict.fromkeys(ids)))


def _clear() -> None:
    st.session_state.pop(SELECTED, None)


@st.fragment
def show_map(world: MapView) -> None:
    """Draw the map, and the pictures and captions of what is selected on it."""
    before, after, kinds, coloring = choose_view(world)
    stages = list(range(len(world.stage_labels))) if after is None else [after]
    drawn = groups(world, stages, kinds, coloring)
    arrows = None
    if before is not None and after is not None and kinds:
        arrows = tuple(np.concatenate([world.coordinates(s, kind) for kind in kinds]) for s in (before, after))
    points = (world.data, tuple(world.map.rows), tuple(world.map.prompts))
    view_key = (points, world.method, before, after, tuple(kinds), coloring)
    st.session_state["embeddings.drawn"] = view_key
    made_in, selected = st.session_state.get(SELECTED, (view_key, []))
    if made_in[0] != points:  # the run in view has other ones under these numbers
        selected = []
    marked = None
    if selected and made_in != view_key and after is not None:
        inside = [(kind, int(i)) for kind, _, i in (s.partition(":") for s in selected) if kind in kinds]
        inside = [(kind, i) for kind, i in inside if i < world.map.counts[kind]]
        marked = np.array([world.coordinates(after, kind)[i] for kind, i in inside]) if inside else None
    places = world.map.coordinates[world.method]
    bounds = (places.min(0), places.max(0))
    left, right = st.columns([2, 1], gap="medium")
    left.plotly_chart(
        images.embedding_map(drawn, AXES[world.method], arrows=arrows, marked=marked, bounds=bounds),
        key=CHART,
        on_select=_select,
        selection_mode=("points", "box", "lasso"),
    )
    with right:
        show_selected(world, selected)
    if world.method == "umap":
        st.warning("Distances in UMAP are not distances: only who is near whom counts.", icon=":material/straighten:")
    n = sum(len(group.ids) for group in drawn)
    st.caption(
        f"{n:,} of {len(places):,} points. {world.method.upper()} fitted once on all of them; trustworthiness "
        f"{world.map.trustworthiness[world.method]:.2f} (1: whoever is near on the map is near in truth; chance is 0.5). "
        "Pictures and texts lie apart in every such model (the modality gap), so that near a star means little here: "
        "how far the trigger pulls is the figure below."
    )


def show_selected(world: MapView, selected: list[str]) -> None:
    """Draw pictures and captions of the points that were lassoed or clicked."""
    if not selected:
        st.caption("Draw around points or click one: their pictures and captions then stand here.")
        return
    split = [(kind, int(i)) for kind, _, i in (s.partition(":") for s in selected)]
    split = [(kind, i) for kind, i in split if i < world.map.counts.get(kind, 0)]
    kinds = [[pair for pair in split if pair[0] == kind] for kind in KIND_STYLES]
    split = [pair for row in zip_longest(*filter(None, kinds)) for pair in row if pair]  # some of each kind come first
    classes = Counter(world.class_of(kind, i) for kind, i in split)
    common = ", ".join(f"{escape_markdown(name)} {count}" for name, count in classes.most_common(6))
    st.markdown(f"**{len(split)} points selected.** Most often: {common}.")
    st.button("Clear the selection", key="embeddings.clear", icon=":material/close:", on_click=_clear)
    for place, (kind, i) in zip((c for _ in range(4) for c in st.columns(3)), split[:12], strict=False):
        with place:
            if kind == "prompt":
                st.markdown(f":material/title: **{escape_markdown(world.text_of(kind, i))}**")
                continue
            sample = pickers.Sample(
                world.data, "test", world.size, world.map.rows[i], model=pickers.selected_model_key()
            )
            pair = cache.image_pair_bytes(sample, world.trigger_run if kind == "triggered" else None)
            st.image(gallery.enlarge(pair[-1], 128), width="stretch")
            st.caption(escape_markdown(world.text_of(kind, i)) + CAPTION_SUFFIXES[kind])
    if len(split) > 12:
        with st.expander(f"All {len(split)}"):
            table = [
                (KIND_STYLES[kind][0], world.class_of(kind, i), "" if kind == "prompt" else world.text_of(kind, i))
                for kind, i in split
            ]
            st.dataframe(pd.DataFrame(table, columns=["Kind", "Class", "Caption"]), hide_index=True)


def show_numbers(world: MapView) -> None:
    """Draw the figures of each model with their meaning, and how far things moved."""
    st.subheader(state.section_title("In numbers", state.current_run()), anchor=False)
    found = dict(zip(world.stage_labels, world.map.metrics, strict=True))
    names = [name for name in METRIC_LABELS if any(name in values for values in found.values())]
    table = [
        {
            "Figure": METRIC_LABELS[name][0],
            **{label: values.get(name) for label, values in found.items()},
            "Meaning": METRIC_LABELS[name][1],
        }
        for name in names
    ]
    columns = {label: st.column_config.NumberColumn(format="%.3f") for label in found}
    st.dataframe(pd.DataFrame(table), hide_index=True, width="stretch", column_config=columns)
    st.caption(
        f"n = {len(world.map.rows)} test pictures with one class ({escape_markdown(world.map.data)}) and their captions; trigger "
        "pull and silhouette leave out pictures of the target class. In the models' own space, not on the map."
    )
    for number, ((before, after), moved) in enumerate(zip(pairwise(world.stage_labels), world.map.shifts, strict=True)):
        st.markdown(f"**How far things moved: {before} → {after}**")
        bars = {KIND_STYLES[kind][0]: (KIND_STYLES[kind][1], values) for kind, values in moved.items()}
        st.plotly_chart(
            images.shift_histogram(bars), key=f"embeddings.shift.{number}", config={"displayModeBar": False}
        )


with page("Embeddings", LEAD):
    left, right = st.columns(2, gap="medium")
    with left:
        shown = pickers.choose_stages(state.current_run())
    with right:
        world = load_map_view(shown)
    st.subheader(state.section_title("One map for all models", state.current_run()), anchor=False)
    show_map(world)
    show_numbers(world)
    if world.map.rows:
        sample = pickers.Sample(world.data, "test", world.size, world.map.rows[0], model=pickers.selected_model_key())
        cache.warm_images(sample, world.trigger_run)
    pickers.show_provenance(shown)
