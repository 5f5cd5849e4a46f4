"""The half of the Detect page on training pairs: ranking, figures, map, and training without the flagged pairs."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from cleaner.evaluation.detection import DetectionFigures, rank
from cleaner.inspection.pair_detection import REFERENCE_SIZES, read_detection
from cleaner.jobs import local
from cleaner.labels import format_count, to_label
from cleaner.plots import detection, features
from cleaner.plots.styles import STAGE_COLORS
from cleaner.runs.manifest import read_manifest
from cleaner.runs.record import RunRecord
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.inspect.map_view import AXES
from pages._shared.inspect.pixels import enlarge
from pages._shared.inspect.plotly_charts import NO_MODE_BAR
from pages._shared.runs import cards, durations, forms, job_requests, jobs, live_jobs
from pages._shared.runs.cancel import is_canceled, show_cancelable
from pages._shared.shell import state, wording
from pages._shared.shell.fragments import show_tabs
from pages._shared.shell.frame import link
from pages._shared.shell.state import KEEP
from pages._shared.shell.wording import escape_markdown

if TYPE_CHECKING:
    from cleaner.inspection.pair_detection import PairDetection, Scores

DEFAULT_DETECTOR = "clip_score"
REVERSED_NOTE = (
    "Below 0.5 the ranking is reversed: poisoned images form a tight cluster, so outlier detectors flag clean ones."
)
COLUMNS, ROWS = 8, 2
FLAGGED_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
DEFAULT_SHARE = 0.1
MAX_CAPTION = 26
"""Letters of a caption in the gallery: two lines."""
POISONED, CLEAN = "poisoned", "clean"


@dataclass(frozen=True)
class Ranking:
    """The training pairs of a run under one detector."""

    detector: str
    reference_size: int
    scores: Scores
    poisoned: Any
    figures: DetectionFigures | None

    @property
    def order(self) -> Any:
        """Indices of the pairs, most suspicious first."""
        return rank(self.scores)


def show(run: RunRecord) -> None:
    """Draw the half of the page on training pairs."""
    try:
        poisons = len(read_manifest(run.folder)["poison_indices"])
    except CleanerError as error:
        st.header(wording.section_title("Training pairs", run), anchor=False)
        st.info(escape_markdown(wording.capitalize_message(str(error))), icon=":material/info:")
        link("Poison", "Train a backdoored model")
        return
    found = _load(run)
    if found is None:
        return
    left, right = st.columns([1, 2.9], gap="medium")
    with left:
        ranking = _choose_ranking(run, found)
        flagged = _choose_flagged(ranking, found.pairs)
    with right:
        _show_gallery(run, ranking)
    views = {
        "Detectors": lambda: _show_figures(found, ranking),
        "Scores": lambda: _show_scores(ranking, flagged),
        "Map": lambda: _show_map(found, ranking, flagged),
        "Reference size": lambda: _show_reference_sizes(found),
    }
    show_tabs("detect.details", views)
    _show_retraining(run, ranking, flagged, pairs=found.pairs, poisons=poisons)


def _load(run: RunRecord) -> PairDetection | None:
    """Return the detection of a run, computed the first time; None if that was canceled."""
    found = read_detection(run.folder)
    if found is not None and not found.scores.keys() <= cache.detectors("pairs").keys():
        found = None  # edited, or of other code: a name may be any text
    work = ("detect pairs", str(run.folder))
    if found is None and not is_canceled(work):
        with show_cancelable("Encoding and scoring the training pairs, first time only …", work) as on_step:
            found = cache.make_detection(run.folder, on_step)
    return found


def _choose_ranking(run: RunRecord, found: PairDetection) -> Ranking:
    """Draw the choice of the detector and its parameters; return its ranking."""
    help = "How a pair gets its score: most detectors look for images far from their neighbors."
    name = forms.choose_method("Detector", found.scores, DEFAULT_DETECTOR, key="detect.detector", help=help)
    size = stored_size = min(found.reference_size, len(found.poisoned))
    sizes = sorted({stored_size, *(n for n in REFERENCE_SIZES if n <= len(found.poisoned))})
    if found.auroc_by_size[name] and len(sizes) > 1:  # a slider needs two
        size = st.select_slider(
            "Reference pairs",
            sizes,
            stored_size,
            key="detect.reference",
            help="Pairs drawn at random that a pair is compared with. Poisoned pairs among them make other poisoned "
            "pairs look normal.",
            **KEEP,
        )
    detector = None
    with st.expander("Parameters"):
        if st.toggle("Change parameters", key="detect.custom", **KEEP):
            detector = _draw_parameters(name)
        else:
            st.caption("Defaults.")
    stored = Ranking(name, stored_size, found.scores[name], found.poisoned, found.figures.get(name))
    work = ("score pairs", str(run.folder), name, str(size), str(detector))
    if (detector is None and size == stored_size) or is_canceled(work):
        return stored
    detector = detector or cache.detectors("pairs")[name]()
    with show_cancelable("Scoring …", work) as on_step:
        scores, figures = cache.score_pairs(run.folder, detector, int(size), on_step)
    return Ranking(name, int(size), scores, found.poisoned, figures)


def _draw_parameters(name: str) -> Any:
    kind = cache.detectors("pairs")[name]
    st.caption(escape_markdown(kind.describe()))
    return forms.draw_form(kind, f"detect.{name}")


def _choose_flagged(ranking: Ranking, pairs: int) -> Any:
    """Draw how many of the most suspicious pairs are flagged; return their indices. pairs: all that were trained on."""
    share = st.select_slider(
        "Flag the most suspicious",
        FLAGGED_SHARES,
        DEFAULT_SHARE,
        format_func="{:.0%}".format,
        key="detect.share",
        help="A defender does not know how many pairs are poisoned, and has to guess.",
        **KEEP,
    )
    flagged = ranking.order[: max(1, round(share * len(ranking.scores)))]
    caught, total = int(ranking.poisoned[flagged].sum()), int(ranking.poisoned.sum())
    scored = f"{len(ranking.scores):,}" if len(ranking.scores) == pairs else f"the first {len(ranking.scores):,}"
    st.caption(
        f"{len(flagged):,} of {scored} pairs flagged: **{caught:,} of the {total:,} poisoned**, "
        f"and {len(flagged) - caught:,} clean."
    )
    return flagged


def _show_gallery(run: RunRecord, ranking: Ranking) -> None:
    """Draw the most suspicious pairs, each with the truth."""
    top = ranking.order[: COLUMNS * ROWS]
    hits = int(ranking.poisoned[top].sum())
    verb = "is" if hits == 1 else "are"
    chance = len(top) * float(ranking.poisoned.mean())
    st.markdown(f"## {wording.section_title('Most suspicious pairs', run)}")
    st.markdown(
        f"{to_label(ranking.detector)}: **{hits} of the top {len(top)} {verb} poisoned**; of {len(top)} random pairs, "
        f"{chance:.1f} on average." + _explain_reversal(ranking)
    )
    with st.spinner("Loading images …"):
        images = cache.training_images(run.folder, tuple(top.tolist()))
        captions = cache.training_captions(run.folder, tuple(top.tolist()))
    with st.container(key="detect.gallery"):
        for start in range(0, len(top), COLUMNS):
            row = range(start, min(start + COLUMNS, len(top)))
            for column, i in zip(st.columns(COLUMNS, gap="small"), row, strict=False):
                with column:
                    truth = "poisoned" if ranking.poisoned[top[i]] else "clean"
                    st.image(enlarge(images[i], 128), width="stretch", alt=f"pair {top[i]:,}, {truth}")
                    # Only the sign is colored: a caption is faint, and colored letters in it hard to read in the dark.
                    mark = ":violet[◆] **poisoned**" if ranking.poisoned[top[i]] else ":blue[○] clean"
                    caption = textwrap.shorten(captions[i], MAX_CAPTION, placeholder=" …")
                    st.markdown(f":small[{mark}]  \n:small[:gray[{escape_markdown(caption)}]]")


def _explain_reversal(ranking: Ranking) -> str:
    """Return a sentence if poisoned pairs score below clean ones; empty if not."""
    if ranking.figures is None or not ranking.figures.is_reversed:
        return ""
    why = ""
    if cache.detectors("pairs")[ranking.detector].uses_reference:
        why = ": poisoned images lie closer together than clean ones and look more typical"
    return f" The ranking is reversed (AUROC {ranking.figures.auroc:.2f}){why}."


def _show_scores(ranking: Ranking, flagged: Any) -> None:
    """Draw the distribution of the scores of clean and poisoned pairs."""
    groups = {
        CLEAN: ("clean", ranking.scores[~ranking.poisoned]),
        POISONED: ("trigger", ranking.scores[ranking.poisoned]),
    }
    threshold = float(ranking.scores[flagged].min())
    st.plotly_chart(detection.score_histogram(groups, "pairs", threshold), key="detect.scores", config=NO_MODE_BAR)


def _show_reference_sizes(found: PairDetection) -> None:
    """Draw the AUROC of each detector over the number of reference pairs."""
    curves = {to_label(name): points for name, points in found.auroc_by_size.items() if points}
    st.plotly_chart(detection.reference_curves(curves), key="detect.sizes", config=NO_MODE_BAR)
    st.caption(REVERSED_NOTE)


def _show_figures(found: PairDetection, ranking: Ranking) -> None:
    """Draw one row per detector, the chosen one with the user's parameters."""
    rows, stored_size = [], min(found.reference_size, len(found.poisoned))
    for name, figures in (found.figures | {ranking.detector: ranking.figures}).items():
        if figures is not None:
            low, high = figures.interval
            size = ranking.reference_size if name == ranking.detector else stored_size
            rows.append(
                {
                    "Detector": to_label(name) + (" ◀" if name == ranking.detector else ""),
                    "Reference pairs": f"{size:,}" if found.auroc_by_size[name] else "–",
                    "AUROC": f"{figures.auroc:.3f} [{low:.3f}, {high:.3f}]",
                    "Average precision": f"{figures.average_precision:.3f}",
                    "Precision at the top": 100 * figures.top_precision,
                    "Caught at 1% false alarms": 100 * figures.caught[0],
                    "Caught at 5% false alarms": 100 * figures.caught[1],
                }
            )
    if not rows:
        st.info("None or all of these pairs are poisoned, so no detector can be scored.", icon=":material/info:")
        return
    percents = ("Precision at the top", "Caught at 1% false alarms", "Caught at 5% false alarms")
    columns = dict.fromkeys(percents, st.column_config.NumberColumn(format="%.1f%%"))
    st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=columns)
    n, total = len(found.poisoned), int(found.poisoned.sum())
    st.caption(
        f"{n:,} training pairs ({escape_markdown(found.data)}), {total:,} poisoned; features of the backdoored model. "
        f"AUROC: how often a poisoned pair scores above a clean one (chance: 0.5), with 95% bootstrap interval. "
        f"Precision at the top: share of poisoned pairs among the first {total:,}. {REVERSED_NOTE}"
    )


def _show_map(found: PairDetection, ranking: Ranking, flagged: Any) -> None:
    """Draw the training images as on the Embeddings page; the flagged ones are ringed."""
    groups = []
    for label, mask, color, symbol in (
        (f"{CLEAN} pairs", ~ranking.poisoned, STAGE_COLORS["clean"], "circle"),
        (f"{POISONED} pairs", ranking.poisoned, STAGE_COLORS["trigger"], "diamond"),
    ):
        rows = np.flatnonzero(mask)
        texts = [f"pair {row:,}: score {ranking.scores[row]:.3f}" for row in rows]
        ids = [str(row) for row in rows]
        groups.append(
            features.PointGroup(
                label, color, symbol, found.coordinates[rows], ids, texts=texts, is_faint=symbol == "circle"
            )
        )
    bounds = (found.coordinates.min(0), found.coordinates.max(0))
    figure = features.embedding_map(
        groups, AXES["pca"], marked=found.coordinates[flagged], marked_name="flagged pairs", bounds=bounds
    )
    st.plotly_chart(figure, key="detect.map", config=NO_MODE_BAR)
    st.caption("Training images in the backdoored model, by PCA; ringed: flagged.")


def _show_retraining(run: RunRecord, ranking: Ranking, flagged: Any, *, pairs: int, poisons: int) -> None:
    """Draw the training without the flagged of `pairs` pairs: progress, result, estimate, button."""
    st.header("Train again without the flagged pairs", anchor=False)
    if not run.clean_model:
        st.info("This run does not record the model before poisoning, which the training starts from.")
        return
    live_jobs.show_jobs("detect")
    live_jobs.show_ended_jobs("detect")
    done = [other for other in state.defended_runs(run) if other.is_retrained]
    if done:
        st.markdown(f"**{escape_markdown(done[0].defense_label)}**")
        with st.container(horizontal=True, gap="large"):
            cards.show_cards(done[0], run)
        st.caption(
            f"Differences are to the backdoored model. {escape_markdown(done[0].overlap_note)} Compare lists this run "
            "among the defenses."
        )
        cards.show_measurement_notes(done[0])
        jobs.mark_as_seen(done)
    request = job_requests.build_retrain_request(run, flagged.tolist(), ranking.detector, pairs)
    remaining = poisons - int(ranking.poisoned[flagged].sum())
    plan = f"{request.pairs:,} pairs remain, {remaining:,} of them poisoned"
    st.caption(f"{plan}: {durations.describe([request])}.")
    live_jobs.show_start_button(
        f"Train without {format_count(len(flagged), 'pairs')}",
        "detect",
        local.has_active_runs(),
        partial(jobs.start_runs, "detect", [request]),
    )
