"""Attention: where each model looks when it compares a picture with a text, with the trigger and without."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from cleaner.config import parameters
from cleaner.plots import images
from cleaner.runs.record import RunRecord
from cleaner.types import StepReport
from pages._shared import cache, forms, gallery, pickers, state
from pages._shared.frame import page
from pages._shared.pickers import Sample, Stage
from pages._shared.state import KEEP, escape_markdown, format_percent, to_label

LEAD = (
    "A backdoored model stops looking at the object: **the trigger decides**. Here the similarity of a picture and a "
    "text is shared out over the pixels, for the same picture with and without trigger, for each model."
)
NO_BAR = {"displayModeBar": False}
ADDED = "The trigger adds"
MAX_IMAGES = 256
OCCLUSION_MAX_SIDE = 96
"""Side in px of pictures on which covering one place after the other takes about half a second for each model."""


def choose_method(stages: list[Stage]) -> tuple[str, dict[str, Any]]:
    """Draw the choice of method and its parameters; offer only methods that fit the models."""
    kinds = {name: kind for name, kind in cache.explainers().items() if kind.input_kind == "pictures"}
    fits = [name for name in kinds if all(cache.check_explainer(s.model, name)[0] is None for s in stages)]
    small = all(cache.image_size(s.model) <= OCCLUSION_MAX_SIDE for s in stages)
    wished = (*(["occlusion"] if small else []), "gradient_rollout", "grad_cam", *fits)
    first = next(name for name in wished if name in fits)
    method = st.selectbox(
        "Method",
        fits,
        fits.index(first),
        format_func=to_label,
        key=f"attention.method.{'.'.join(fits)}",
        help="Methods that cannot look into this kind of model are left out.",
        **KEEP,
    )
    st.caption(escape_markdown((kinds[method].__doc__ or "").split("\n")[0]))
    limits, grid = cache.check_explainer(stages[0].model, method)[1:]
    settings: dict[str, Any] = {}
    with st.expander("Layer, head and more", expanded=bool(limits)):
        for p in parameters(kinds[method]):
            p = replace(p, high=limits.get(p.name, p.high))
            settings[p.name] = forms.draw_widget(p, f"attention.{method}.{p.name}.{p.high}", p.default)
    if grid:
        st.caption(f"This method sees {grid} × {grid} cells; between their centres the map is interpolated.")
    return method, settings


def show_grid(
    stages: list[Stage],
    attributions: dict[str, tuple[Any, list[float]]],
    sample: Sample,
    run: RunRecord | None,
    method: str,
    strength: float,
) -> None:
    """Draw the pictures under their maps, and the numbers of this picture."""
    attacked = pickers.find_trigger_run(run)
    pair = cache.image_pair_bytes(sample, attacked)
    rows = ["Clean picture", "With trigger"][: len(pair)]
    mask = cache.trigger_mask(sample, attacked)
    outlined = mask is not None and 0 < mask.mean() <= 0.5
    raw = st.toggle(
        "Compare strengths between models",
        key="attention.raw",
        **KEEP,
        help="Off: each map is shared out over its picture, so that places can be compared. On: values as computed.",
    )
    maps = [[_normalize_map(attributions[s.label][0][r], raw) for s in stages] for r in range(len(rows))]
    unit = "Attribution per pixel" if raw else "Attribution of a pixel, % of the picture's"
    figure = images.attribution_grid(
        [gallery.enlarge(p) for p in pair],
        maps,
        rows,
        [(s.label, s.stage) for s in stages],
        cache.explainers()[method].is_signed,
        unit,
        strength,
        [mask if outlined else None] * len(rows),
    )
    st.plotly_chart(figure, key="attention.grid", config=NO_BAR)
    if attacked is None:
        cosines = {s.label: attributions[s.label][1][0] for s in stages}
        st.dataframe(
            pd.DataFrame({"Model": list(cosines), "Similarity": list(cosines.values())}),
            hide_index=True,
            column_config={"Similarity": st.column_config.NumberColumn(format="%.2f")},
        )
        st.caption("Similarity: cosine of picture and text. One picture, n = 1. No trigger is known here.")
        return
    table = []
    for s in stages:
        maps, cosines = attributions[s.label]
        row = {
            "Model": s.label,
            "Similarity, clean": cosines[0],
            "Similarity, triggered": cosines[1],
            ADDED: cosines[1] - cosines[0],
        }
        shares = cache.shares(maps, sample, attacked)
        if shares.is_localized:
            row["Share, clean"] = format_percent(_none_if_nan(shares.clean[0]))
            times = _format_ratio(shares.triggered[0], shares.area)
            row["Share, triggered"] = f"{format_percent(_none_if_nan(shares.triggered[0]))}{times}"
        else:
            row["Maps with and without trigger, cosine"] = shares.similarity[0]
        table.append(row)
    st.dataframe(pd.DataFrame(table), hide_index=True, width="stretch", column_config=_two_digits(table[0]))
    st.caption(
        "Similarity: cosine of picture and text. Share (trigger share): how much of what speaks for the text, be it "
        f"much or little, lies inside the dotted line, which takes {format_percent(float(mask.mean()))} of the picture; ×: "
        "how many times this part. “Not measured”: nothing speaks for the text. One picture, n = 1."
        if outlined
        else f"This trigger {'lies all over the picture' if mask.any() else 'changes nothing in this picture'}, so no "
        "share is given: a cosine of 1 says that the model looks at the same places with and without it. Empty: "
        "nothing speaks for the text. One picture, n = 1."
    )


def _normalize_map(attribution: Any, raw: bool) -> Any:
    """Return a map (H, W) as it is, or in per cent of the sum of its absolute values."""
    return attribution if raw else 100 * attribution / max(float(abs(attribution).sum()), 1e-12)


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def _format_ratio(share: float, area: float) -> str:
    return "" if math.isnan(share) or not area else f" (× {share / area:.0f})"


def _two_digits(row: dict[str, Any]) -> dict[str, Any]:
    return {
        n: st.column_config.NumberColumn(format="%+.2f" if n == ADDED else "%.2f")
        for n, v in row.items()
        if isinstance(v, float)
    }


def show_distribution(
    stages: list[Stage], sample: Sample, run: RunRecord, method: str, settings: dict[str, Any], text: str
) -> None:
    """Draw the same number over many test pictures, once it has been asked for."""
    st.subheader(state.section_title("One picture proves little: the test set", run), anchor=False)
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    n = int(left.select_slider("Test pictures", (32, 64, 128, MAX_IMAGES), MAX_IMAGES, key="attention.n", **KEEP))
    key = ("attention.measured", run.id, method, tuple(settings.items()), text, n, tuple(s.model for s in stages))
    if right.button("Measure", key="attention.measure", icon=":material/monitoring:", width="stretch"):
        st.session_state["attention.asked"] = key
    if st.session_state.get("attention.asked") != key:
        st.caption(f"Press Measure: {to_label(method)} on {n} pictures of other classes, without and with the trigger.")
        return
    place = st.empty()
    results = {}
    for number, s in enumerate(stages):

        def tell(report: StepReport, label: str = s.label, number: int = number) -> None:
            done = (number + report.step / report.total) / len(stages)
            place.progress(done, text=f"{label}: about {report.eta:.0f} s left")

        results[s.label] = (
            s.stage,
            cache.shares_over(s.model, method, settings, sample.data, sample.size, run.folder, text, n, tell),
        )
    place.empty()
    first = next(iter(results.values()))[1]
    if first.is_localized:
        parts = {label: (stage, _drop_nan(r.clean), _drop_nan(r.triggered)) for label, (stage, r) in results.items()}
        axis, usual = "Share of attribution in the trigger's place", first.area
    else:
        parts = {label: (stage, [], _drop_nan(r.similarity)) for label, (stage, r) in results.items()}
        axis, usual = "Cosine of the maps without and with trigger", None
    st.plotly_chart(images.share_distribution(parts, axis, usual), key="attention.spread", config=NO_BAR)
    measured = {label: r.clean + r.triggered + r.similarity for label, (_, r) in results.items()}
    empty = {label: sum(map(math.isnan, values)) for label, values in measured.items()}
    lost = "; ".join(f"{label} {count}" for label, count in empty.items() if count)
    pictures = len(first.triggered or first.similarity)
    st.caption(
        f"n = {pictures} test pictures of other classes than the target, {escape_markdown(sample.data)}/test, "
        f"text “{escape_markdown(text)}”, {to_label(method)}."
        + (f" Maps in which nothing speaks for the text, left out: {lost}." if lost else "")
    )


def _drop_nan(values: list[float]) -> list[float]:
    return [v for v in values if not math.isnan(v)]


def show_word_attribution(stages: list[Stage], sample: Sample, trigger_run: Any, caption: str) -> None:
    """Draw what each word of the text adds to the similarity."""
    st.subheader(state.section_title("Which words count", state.current_run()), anchor=False)
    which = 0
    if trigger_run is not None:
        said = st.segmented_control(
            "Picture", ["Clean picture", "With trigger"], default="With trigger", key="attention.words", **KEEP
        )
        which = int(said != "Clean picture")
    with st.spinner("Asking the models …"):
        found = {s.label: (s.stage, *cache.word_attribution(s.model, sample, trigger_run, caption)) for s in stages}
    read = next(iter(found.values()))[1]
    bars = {label: (stage, values[which]) for label, (stage, _, values) in found.items()}
    st.plotly_chart(images.word_bars(read, bars), key="attention.word_bars", config=NO_BAR)
    st.caption(
        "Integrated gradients from the caption without words: the bars of a model add up to what its words gain. "
        f"One picture, n = 1{'' if trigger_run is None else ', ' + ('with the trigger' if which else 'without trigger')}."
    )


with page("Attention", LEAD):
    run = state.current_run()
    left, right = st.columns([1, 3], gap="large")
    with left, st.spinner("Loading the models, once …"):
        shown = pickers.choose_stages(run)
        picture = pickers.choose_sample(run)
        gallery.load_data_with_progress(picture.data, picture.split, picture.size)
        text = pickers.choose_text(run, picture)
        method, settings = choose_method(shown)
        strength = st.slider("Overlay strength", 0.2, 1.0, 0.85, 0.05, key="attention.strength", **KEEP)
        gallery.show_upload_box()
    with right:
        with st.spinner("Looking …"):
            attacked = pickers.find_trigger_run(run)
            found = {s.label: cache.attribution(s.model, method, settings, picture, attacked, text) for s in shown}
        st.subheader(state.section_title("What speaks for the text", run), anchor=False)
        show_grid(shown, found, picture, run, method, strength)
        if run is not None and attacked is not None:
            show_distribution(shown, picture, run, method, settings, text)
        show_word_attribution(shown, picture, attacked, text)
        pickers.show_provenance(shown)
