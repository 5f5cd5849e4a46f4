"""Embeddings: pictures and texts as points, before and after the poisoning and the defence, in the same axes."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from cleaner import figures, views
from cleaner.types import CleanerError
from pages._shared import cache, images, state, view
from pages._shared.frame import page
from pages._shared.state import KEEP, plain
from pages._shared.view import Stage

LEAD = (
    "A model turns every picture and every text into a point. **A backdoor pulls pictures with the trigger to the "
    "target's text**; a defence has to let them go again. All models share one map, so that points can be followed."
)
PICTURES = (100, 200, 300)
CHART, SELECTED = "embeddings.map", "embeddings.selected"
LOOKS = {
    "image": ("Clean images", "#56B4E9", "circle"), "triggered": ("Images with trigger", "#CC79A7", "diamond"),
    "caption": ("Captions", "#E69F00", "square"), "prompt": ("Class prompts", "#7F8894", "star"),
}  # fmt: skip
COLORINGS = ("Kind", "Class", "Model", "Success of the trigger")
MEANINGS = {
    "trigger_pull": ("Trigger pull", "How far the trigger pulls pictures to the target's text; 0: not."),
    "silhouette": ("Silhouette", "Do pictures with trigger stand apart? 0: mixed, 1: apart."),
    "modality_gap": ("Modality gap", "Distance of the centres of pictures and captions."),
    "alignment": ("Alignment", "Squared distance of picture and own caption; lower is better."),
    "uniformity": ("Uniformity", "How evenly pictures fill the space; lower is more even."),
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """All points: for each model, in the order of the kinds, `counts` of them; places (N, 2)."""

    shown: list[Stage]
    name: str
    size: int
    n: int
    attacked: Any
    target: int | None
    counts: dict[str, int]
    places: Any
    trust: float
    method: str

    def of(self, stage: int, kind: str) -> Any:
        """Return the places of one kind in one model."""
        begin = stage * sum(self.counts.values())
        for other, count in self.counts.items():
            if other == kind:
                return self.places[begin : begin + count]
            begin += count
        raise KeyError(kind)


def gather() -> World:
    """Draw the choices that decide the points; return all points with their places."""
    run = state.current_run()
    shown = view.stages(run)
    name, size = view.data_of(run)
    n = int(st.select_slider("Pictures", PICTURES, PICTURES[-1], key="embeddings.n", **KEEP))
    method = st.segmented_control(
        "Projection", ["PCA", "UMAP"], default="PCA", key="embeddings.method", **KEEP,
        help="Fitted once on the points of all models together. PCA: the two directions with most variation, at once. "
        "UMAP: near points stay near; takes a minute once and is then kept with the run.",
    ) or "PCA"  # fmt: skip
    with st.spinner("Asking the models …"):
        images.drawn(name, "test", size)
        attacked = view.attacked(run)
        models = tuple(s.model for s in shown)
        first = cache.layers(models[0], name, size, n, attacked)
        counts = {kind: len(getattr(first, kind)) for kind in cache.kinds_on_maps()}
        places, trust = cache.pca(models, name, size, n, attacked)
    if method == "UMAP":
        kept = _umap(models, name, size, n, attacked)
        method = "UMAP" if kept else "PCA"
        places, trust = kept or (places, trust)
    target = None
    if run is not None and attacked is not None:
        target = cache.data(name, "test", size).class_index(str(run.config["target_class"]))
    return World(shown, name, size, n, attacked, target, counts, places, trust, method)


def _umap(models: Any, name: str, size: int, n: int, attacked: Any) -> Any:
    """Return the kept UMAP, or draw what is to be done to get it and return None."""
    if attacked is None:
        st.info("UMAP is kept with a run, and there is none yet: PCA is shown.")
        return None
    file = cache.umap_file(models, name, size, n, attacked)
    if file.exists():
        kept = cache.umap(models, name, size, n, attacked, file.stat().st_mtime)
        if kept is not None:
            return kept
    begun = cache.is_fitting(file)
    if begun or st.button("Fit UMAP (about a minute, once)", key="embeddings.fit", icon=":material/play_arrow:"):

        @st.fragment(run_every=1.0)
        def watch() -> None:
            busy = cache.fit_umap(models, name, size, n, attacked)
            since = st.session_state.setdefault("embeddings.since", time.monotonic())
            if busy:
                st.info(f"UMAP is being fitted ({time.monotonic() - since:.0f} s so far); PCA is shown meanwhile.")
                return
            st.session_state.pop("embeddings.since", None)
            if file.exists():
                st.rerun()
            log = file.with_suffix(".log")
            last = log.read_text(encoding="utf-8").strip().splitlines()[-1:] if log.exists() else []
            raise CleanerError(f"UMAP could not be fitted ({' '.join(last)}): choose PCA, or try again.")

        watch()
    else:
        st.caption("PCA is shown until then.")
    return None


def choose_view(world: World) -> tuple[int | None, int | None, list[str], str]:
    """Draw which models, kinds and colours are shown; return (from, to) as stage numbers, kinds and colouring."""
    labels = [s.label for s in world.shown]
    moves = {f"{a} → {b}": (labels.index(a), labels.index(b)) for a, b in pairwise(labels)}
    options: dict[str, tuple[int | None, int | None]] = {label: (None, i) for i, label in enumerate(labels)}
    options |= moves
    if len(labels) > 1:
        options["All models"] = (None, None)
    start = labels[min(1, len(labels) - 1)]
    chosen = st.segmented_control("Show", list(options), default=start, key="embeddings.show", **KEEP) or start
    left, right = st.columns([2, 1])
    there = [kind for kind, count in world.counts.items() if count]
    kinds = left.pills(
        "Points", there, selection_mode="multi", default=[k for k in there if k != "caption"],
        format_func=lambda kind: LOOKS[kind][0], key="embeddings.kinds", **KEEP,
    )  # fmt: skip
    coloring = right.selectbox("Colour by", COLORINGS, key="embeddings.color", **KEEP)
    before, after = options.get(str(chosen), options[start])
    return before, after, list(kinds), str(coloring)


def groups(world: World, stages: list[int], kinds: list[str], coloring: str) -> list[views.Group]:
    """Return the points of some models as groups of one colour each."""
    rows, labels = cache.map_rows(world.name, world.size, world.n)
    data = cache.data(world.name, "test", world.size)
    found: dict[tuple[str, str, str, bool], list[tuple[Any, str, str]]] = {}
    for stage, kind in product(stages, kinds):
        taken = cache.layers(world.shown[stage].model, world.name, world.size, world.n, world.attacked).taken.tolist()
        word, color, symbol = LOOKS[kind]
        for i, place in enumerate(world.of(stage, kind)):
            label = i if kind == "prompt" else labels[i]
            text = data.class_names[i] if kind == "prompt" else data.captions[rows[i]]
            look = (word, color, symbol, False)
            if coloring == "Class":
                look = (data.class_names[label], *views.class_look(label), False)
            elif coloring == "Model":
                shown = world.shown[stage]
                look = (f"{shown.label}: {word.lower()}", figures.COLORS[shown.stage], symbol, False)
            elif coloring == COLORINGS[3]:
                look = _success(kind, word, symbol, taken[i] if kind == "triggered" else None)
            found.setdefault(look, []).append((place, f"{kind}:{i}", f"{word}: {text}"))
    return [
        views.Group(name, color, symbol, np.array([p for p, _, _ in points]), [i for _, i, _ in points],
                    [t for _, _, t in points], faint)
        for (name, color, symbol, faint), points in found.items()
    ]  # fmt: skip


def _success(kind: str, word: str, symbol: str, taken: bool | None) -> tuple[str, str, str, bool]:
    if taken is None:
        return word, LOOKS["prompt"][1], symbol, True
    if taken:
        return "Trigger works: taken for the target", figures.COLORS["backdoored"], symbol, False
    return "Trigger does not work", figures.COLORS["defended"], symbol, False


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
def explore(world: World) -> None:
    """Draw the map, and the pictures and captions of what is selected on it."""
    before, after, kinds, coloring = choose_view(world)
    stages = list(range(len(world.shown))) if after is None else [after]
    drawn = groups(world, stages, kinds, coloring)
    arrows = None
    if before is not None and after is not None and kinds:
        arrows = tuple(np.concatenate([world.of(s, kind) for kind in kinds]) for s in (before, after))
    view_key = (world.method, world.n, before, after, tuple(kinds), coloring)
    st.session_state["embeddings.drawn"] = view_key
    made_in, selected = st.session_state.get(SELECTED, (view_key, []))
    marked = None
    if selected and made_in != view_key and after is not None:
        inside = [(kind, int(i)) for kind, _, i in (s.partition(":") for s in selected) if kind in kinds]
        inside = [(kind, i) for kind, i in inside if i < world.counts[kind]]
        marked = np.array([world.of(after, kind)[i] for kind, i in inside]) if inside else None
    axes = ("UMAP 1 (no unit)", "UMAP 2 (no unit)")
    if world.method == "PCA":
        axes = ("Direction of most variation (cosine space)", "Second direction")
    bounds = (world.places.min(0), world.places.max(0))
    st.plotly_chart(
        views.embedding_map(drawn, axes, arrows, marked, bounds), key=CHART, on_select=_select,
        selection_mode=("points", "box", "lasso"),
    )  # fmt: skip
    if world.method == "UMAP":
        st.warning("Distances in UMAP are not distances: only who is near whom counts.", icon=":material/straighten:")
    n = sum(len(group.ids) for group in drawn)
    st.caption(
        f"{n:,} of {len(world.places):,} points. {world.method} fitted once on all of them; trustworthiness "
        f"{world.trust:.2f} (share of neighbours on the map that are neighbours in truth; 1 is best)."
    )
    show_selected(world, selected)


def show_selected(world: World, selected: list[str]) -> None:
    """Draw pictures and captions of the points that were lassoed or clicked."""
    if not selected:
        st.caption("Draw around points or click one: their pictures and captions stand here then.")
        return
    rows, labels = cache.map_rows(world.name, world.size, world.n)
    data = cache.data(world.name, "test", world.size)
    split = [(kind, int(i)) for kind, _, i in (s.partition(":") for s in selected)]
    split = [(kind, i) for kind, i in split if i < world.counts.get(kind, 0)]
    classes = Counter(data.class_names[i if kind == "prompt" else labels[i]] for kind, i in split)
    common = ", ".join(f"{plain(name)} {count}" for name, count in classes.most_common(6))
    st.markdown(f"**{len(split)} points selected.** Most often: {common}.")
    st.button("Clear the selection", key="embeddings.clear", icon=":material/close:", on_click=_clear)
    for place, (kind, i) in zip((c for _ in range(2) for c in st.columns(6)), split[:12], strict=False):
        with place:
            if kind == "prompt":
                st.markdown(f":material/title: **{plain(data.class_names[i])}**")
                continue
            attacked = world.attacked if kind == "triggered" else None
            sample = view.Sample(world.name, "test", world.size, rows[i])
            st.image(images.enlarged(cache.shown_pair(sample, attacked)[-1], 128), width="stretch")
            st.caption(f"{LOOKS[kind][0]}: {plain(data.captions[rows[i]])}")
    if len(split) > 12:
        with st.expander(f"All {len(split)}"):
            table = [
                (LOOKS[k][0], data.class_names[i if k == "prompt" else labels[i]],
                 "" if k == "prompt" else data.captions[rows[i]])
                for k, i in split
            ]  # fmt: skip
            st.dataframe(pd.DataFrame(table, columns=["Kind", "Class", "Caption"]), hide_index=True)


def show_numbers(world: World) -> None:
    """Draw the figures of each model with their meaning, and how far things moved."""
    st.subheader(state.titled("In numbers", state.current_run()), anchor=False)
    with st.spinner("Counting …"):
        found = {
            s.label: cache.numbers(s.model, world.name, world.size, world.n, world.attacked, world.target)
            for s in world.shown
        }
    names = [name for name in MEANINGS if any(name in values for values in found.values())]
    table = [
        {"Figure": MEANINGS[name][0], **{label: values.get(name) for label, values in found.items()},
         "Meaning": MEANINGS[name][1]}
        for name in names
    ]  # fmt: skip
    columns = {label: st.column_config.NumberColumn(format="%.3f") for label in found}
    st.dataframe(pd.DataFrame(table), hide_index=True, width="stretch", column_config=columns)
    st.caption(
        f"n = {world.n} test pictures with one class ({plain(world.name)}/test) and their captions; trigger pull and "
        "silhouette leave out pictures of the target class. In the models' own space, not on the map."
    )
    for left, right in pairwise(range(len(world.shown))):
        a, b = world.shown[left], world.shown[right]
        moved = cache.shifts(a.model, b.model, world.name, world.size, world.n, world.attacked)
        st.markdown(f"**How far things moved: {a.label} → {b.label}**")
        bars = {LOOKS[kind][0]: (LOOKS[kind][1], values) for kind, values in moved.items()}
        st.plotly_chart(views.shift_histogram(bars), key=f"embeddings.shift.{right}", config={"displayModeBar": False})


with page("Embeddings", LEAD):
    left, right = st.columns([1, 4], gap="large")
    with left:
        world = gather()
    with right:
        st.subheader(state.titled("One map for all models", state.current_run()), anchor=False)
        explore(world)
    show_numbers(world)
    view.provenance(world.shown, state.current_run())
