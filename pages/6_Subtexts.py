"""Subtexts: how TA-Cleaner parses a caption, the true and false texts it draws, and how models score them."""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from cleaner.labels import format_count
from cleaner.plots import charts, features
from cleaner.runs.record import RunRecord
from cleaner.runs.run import read_progress
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.inspect import annotated_text, pickers
from pages._shared.inspect.pickers import StageModel
from pages._shared.inspect.pixels import enlarge
from pages._shared.inspect.plotly_charts import NO_MODE_BAR
from pages._shared.inspect.sample import DataKey, DrawKey, Sample
from pages._shared.runs import job_requests
from pages._shared.runs.cancel import is_canceled, show_cancelable
from pages._shared.shell import stage_mode, state, times, uploads, wording
from pages._shared.shell.frame import link, page
from pages._shared.shell.progress import load_data_with_progress
from pages._shared.shell.state import KEEP
from pages._shared.shell.wording import escape_markdown, format_percent

if TYPE_CHECKING:
    from cleaner.inspection.margins import DrawStats
    from cleaner.text import SubtextPair

LEAD = (
    "TA-Cleaner trains on **short true texts** and **texts with one false word**. "
    ":gray-badge[re-implementation from the public description]"
)
MAX_CAPTION_WORDS, MAX_CAPTION_LENGTH = 60, 2000
LIMITS = f"{MAX_CAPTION_WORDS} words and {MAX_CAPTION_LENGTH:,} characters"
MAX_EPOCH, MAX_NEGATIVES, MAX_SEED = 20, 6, 9999
MAX_WORST_PAIRS, DIAGNOSTIC_EPOCHS = 20, 7
COLUMN_CONFIG: dict[str, Any] = {
    "Pair": st.column_config.NumberColumn(width=50),
    "Caption": st.column_config.TextColumn(width=280),
    "True": st.column_config.TextColumn(width=190),
    "False": st.column_config.TextColumn(width=410),
}
"""All four are in view in a window of 1280 px; a click on a cell shows a text that is longer."""


def choose_caption(data_key: DataKey) -> tuple[Sample, str]:
    """Draw the image, and the choice of image and caption, from the data or the user's own; return both."""
    data = cache.load_data(data_key)
    picture = st.container()
    index, caption = _choose_pair(data_key.name, data.captions[: pickers.MAX_SAMPLES])
    own_image = st.session_state.get(uploads.OWN_IMAGE)
    with st.popover("Own image", icon=":material/upload:", width="stretch"):
        uploads.show_upload_box()
    key = f"subtexts.own.{st.session_state.get(uploads.TAKEN, 0)}"  # a new image is shown at once
    is_own = own_image is not None and st.toggle("Use my image", True, key=key, **KEEP)
    sample = Sample(data_key, index, own_image if is_own else None, pickers.selected_model_key())
    with picture:
        load_data_with_progress(data_key)
        source = f"Own image: {sample.own_image[0]}" if sample.own_image else f"{data.name}, pair {index}"
        alt = "Own image" if sample.own_image else data.captions[index]
        st.image(enlarge(cache.image_pair_pixels(sample, None)[0]), escape_markdown(source), width=180, alt=alt)
    return sample, caption


def choose_draw() -> DrawKey:
    """Draw the choice of epoch, number of false texts and seed; return the draw."""
    epoch = st.slider("Epoch", 0, MAX_EPOCH, 0, key="subtexts.epoch", help="Each epoch draws new texts.", **KEEP)
    negatives = st.slider("False texts", 1, MAX_NEGATIVES, 3, key="subtexts.n", **KEEP)
    seed = st.number_input("Seed", 0, MAX_SEED, 0, key="subtexts.seed", help="Determines the draw.", **KEEP)
    return DrawKey(int(seed), epoch, negatives)


def _choose_pair(name: str, captions: list[str]) -> tuple[int, str]:
    """Draw the choice of a pair and its caption, which can be edited; raise `CleanerError` unless 1..60 words."""
    index = st.selectbox(
        "Pair",
        range(len(captions)),
        format_func=lambda i: f"{i} · {captions[i]}",
        key=f"subtexts.pair.{name}",
        help="Clean pairs that a defense trains on; type to search.",
        **KEEP,
    )
    caption = st.text_input(
        "Caption",
        captions[index],
        key=f"subtexts.caption.{name}.{index}.{captions[index]}",  # follows edited data
        help="Edit it to see how the subtexts change.",
        **KEEP,
    ).strip()
    words = len(caption.split())
    if not words:
        raise CleanerError("The caption is empty: enter one, or choose another pair.")
    if words > MAX_CAPTION_WORDS or len(caption) > MAX_CAPTION_LENGTH:
        raise CleanerError(f"The caption has {words} words, {len(caption):,} characters: shorten it to {LIMITS}.")
    return index, caption


def show_subtexts(caption: str, pair: SubtextPair) -> None:
    """Draw the positive and negative subtexts with their edits."""
    left, right = st.columns([1, 1.4], gap="medium")
    with left, st.container(border=True, height="stretch"):
        st.markdown(":material/check_circle: **True (positive subtext)**")
        if pair.positive is None:
            st.info("None: this caption has no noun phrase. Training skips the pair.")
        else:
            st.markdown(f"### {escape_markdown(pair.positive.text)}")
            if pair.positive.kind == "identity":
                st.caption("The caption cannot be shortened.")
            annotated_text.show_annotated_text(
                annotated_text.shortened_pieces(caption, pair.positive.text), is_small=True
            )
    with right, st.container(border=True, height="stretch"):
        st.markdown(":material/cancel: **False (negative subtexts)**")
        if not pair.negatives:
            st.info("None: no change of this caption is certainly false. Training skips the pair.")
        for number, negative in enumerate(pair.negatives):
            with st.container(key=f"negative-{number}-{negative.kind}"):
                pieces = annotated_text.edited_pieces(caption, negative.edits)
                annotated_text.show_annotated_text(pieces, is_small=True, has_labels=False)
                st.caption(f"other {annotated_text.ROLE_LABELS.get(negative.kind) or negative.kind}")


def show_similarities(stages: list[StageModel], sample: Sample, caption: str, pair: SubtextPair) -> None:
    """Draw the similarity of the image with each text, for each model."""
    labels = {caption: f"caption: {caption}"}
    if pair.positive is not None:
        labels.setdefault(pair.positive.text, f"✓ {pair.positive.text}")
    texts, names = list(labels), list(labels.values())
    negatives = [negative.text for negative in pair.negatives]
    texts, names = texts + negatives, names + [f"✗ {text}" for text in negatives]
    with st.spinner("Scoring texts …"):
        values = {s.label: (s.kind, cache.similarities(s.model, sample, tuple(texts))) for s in stages}
    st.plotly_chart(stage_mode.enlarge(charts.similarity_bars(names, values)), key="similarity", config=NO_MODE_BAR)
    if not all(cache.fits_context(s.model, text) for s in stages for text in texts):
        st.warning("These texts exceed the models' context length: shorten the caption.")
    elif negatives:
        if sample.own_image is not None or caption != cache.load_data(sample.data).captions[sample.index]:
            st.caption("True (✓) and false (✗) hold only if your caption describes the image.")
        for label, (_, cosines) in values.items():
            _show_judgment(label, cosines[0], dict(zip(negatives, cosines[-len(negatives) :], strict=True)))
    st.caption(
        "One image, n = 1; “fine detail” on the Defend page covers the test set. "
        f"{escape_markdown(state.describe_selection())}."
    )
    if state.current_run() is None:
        link("Poison", "Train a model")


def _show_judgment(label: str, caption_cosine: float, negatives: dict[str, float]) -> None:
    """Draw whether a model scores the caption above all negative subtexts."""
    preferred = [text for text, cosine in negatives.items() if cosine >= caption_cosine]
    judgment = f"prefers: {'; '.join(preferred)}" if preferred else "scores the caption above all false texts"
    icon = "cancel" if preferred else "check_circle"
    st.markdown(f":material/{icon}: **{escape_markdown(label)}** {escape_markdown(judgment)}.")


def show_margins(stages: list[StageModel], data_key: DataKey, draw: DrawKey) -> None:
    """Draw the margins of true over false texts for many pairs, and the pairs with the lowest ones."""
    with st.expander(
        "Margins over many pairs", icon=":material/bar_chart:", key="subtexts.margins", on_change="rerun"
    ) as box:
        if not box.open:
            return
        captions = cache.load_data(data_key).captions
        count = min(pickers.MAX_SAMPLES, len(captions))
        load_data_with_progress(data_key)
        work = ("margins", str([s.model for s in stages]), str(data_key), str(draw))
        if is_canceled(work):
            return
        with show_cancelable("Scoring texts …", work) as on_step:
            margins = [cache.margins(s.model, data_key, count, draw, on_step) for s in stages]
        values = {s.label: (s.kind, [m.value for m in rows]) for s, rows in zip(stages, margins, strict=True)}
        st.plotly_chart(features.margin_histogram(values), key="subtexts.histogram", config=NO_MODE_BAR)
        wrong = [
            f"{escape_markdown(s.label)} {sum(m.value <= 0 for m in rows)}"
            for s, rows in zip(stages, margins, strict=True)
        ]
        st.caption(
            f"{len(margins[0])} of the first {count} clean pairs, epoch {draw.epoch}. Pairs below 0, with a false "
            f"text preferred: {', '.join(wrong)}. Text length alone accounts for part of a margin."
        )
        number = next((i for i, s in enumerate(stages) if s.stage == "defended"), len(stages) - 1)
        st.markdown(f"**Lowest margins: {escape_markdown(stages[number].label)}**")
        lowest = sorted(margins[number], key=lambda margin: margin.value)[:MAX_WORST_PAIRS]
        texts = [(captions[m.index], m.positive, m.negative) for m in lowest]  # a table wraps them, a data frame cuts
        table = [(m.index, *map(escape_markdown, row), f"{m.value:.2f}") for m, row in zip(lowest, texts, strict=True)]
        columns = ["Pair", "Caption", "True", "Best false text", "Margin"]
        st.table(pd.DataFrame(table, columns=columns), border="horizontal", height=400, hide_index=True)


def show_diagnostics(data_key: DataKey, seed: int, negatives: int) -> None:
    """Draw the statistics that reveal a failing draw, for each epoch."""
    with st.expander(
        "How subtexts are drawn", icon=":material/troubleshoot:", key="subtexts.diagnostics", on_change="rerun"
    ) as box:
        if not box.open:
            return
        share = st.session_state.get(_share_key(), _find_default_share()) / 100
        pairs = len(cache.load_data(data_key))
        with st.spinner("Drawing subtexts …"):
            stats = cache.epoch_diagnostics(data_key, share, seed=seed, negatives=negatives, epochs=DIAGNOSTIC_EPOCHS)
        kinds = sorted({kind for s in stats for kind in s.kind_counts})
        table = [
            {
                "Epoch": s.epoch,
                "Pairs drawn": s.drawn,
                "Skipped": s.skipped,
                "New texts": s.new_share,
                "Time (ms)": round(1000 * s.seconds),
                **{f"False: {kind}": s.kind_counts.get(kind, 0) for kind in kinds},
            }
            for s in stats
        ]
        style = {name: st.column_config.NumberColumn(format="localized") for name in table[0]}
        style["New texts"] = st.column_config.NumberColumn(format="percent")
        st.dataframe(pd.DataFrame(table), hide_index=True, column_config=style)
        st.caption(
            f"K = {share:.0%} of {pairs:,} clean pairs per epoch. **New texts**: not drawn before for the same pair; "
            "few new texts invite memorization. **False**: count per kind of change; missing kinds are not trained. "
            f"**Skipped**: captions without subtexts; training uses fewer pairs. {_describe_time_share(pairs, stats)}"
        )


def _describe_time_share(pairs: int, stats: list[DrawStats]) -> str:
    """Return a sentence with the share of an epoch spent on subtexts, from the newest training of the model in view."""
    for run in state.subtext_defenses():
        if (step_seconds := _find_step_seconds(run)) and not run.is_shipped:
            epoch_seconds = step_seconds * max(1, pairs // int(run.finetune.batch_size))
            share = sum(s.seconds for s in stats) / len(stats) / epoch_seconds
            label = escape_markdown(times.label_run(run))
            return f"**Time**: {format_percent(share)} of an epoch (compared with {label})."
    return "**Time**: to draw and write the texts, on this machine."


def _find_step_seconds(run: RunRecord) -> float:
    """Return the median seconds of a training step; 0 if the log does not say."""
    steps = [(report["step"], report["seconds"]) for report in read_progress(run.folder) if report["stage"] == "defend"]
    # From step to step, as the first one includes the setup.
    pairs = [(before, after) for before, after in pairwise(steps) if after[0] > before[0]]
    return float(median([(end - start) / (last - first) for (first, start), (last, end) in pairs] or [0.0]))


def _share_key() -> str:
    """Return the key of the slider of K, which each run or model in view has for itself."""
    run = state.current_run()
    return f"subtexts.share.{state.current_model() if run is None else run.id}"


def _find_default_share() -> int:
    """Return K in percent, as the newest defense of the run or model in view has it, else the method's default."""
    shares = [float(run.config["defense"]["share"]) for run in state.subtext_defenses()]
    return round(100 * [*shares, float(cache.defenses()["ta_cleaner"]().share)][0])


def show_epoch(data_key: DataKey, draw: DrawKey) -> None:
    """Draw the pairs of an epoch and their subtexts."""
    title = f"All pairs of epoch {draw.epoch}"
    with st.expander(title, icon=":material/casino:", key="subtexts.epoch_pairs", on_change="rerun") as box:
        if not box.open:
            return
        percent = st.slider(
            "Pairs drawn (K), %",
            1,
            100,
            _find_default_share(),
            key=_share_key(),
            **KEEP,
            help="Drawn per epoch. The paper says “a few”; the default is 10%. The quick setting of Defend draws 100%.",
        )
        with st.spinner("Drawing subtexts …"):
            rows, skipped = cache.draw_epoch(data_key, percent / 100, draw)
        table = pd.DataFrame(
            [(i, caption, positive, " | ".join(negatives)) for i, caption, positive, negatives in rows],
            columns=["Pair", "Caption", "True", "False"],
        )
        st.dataframe(table, hide_index=True, height=320, column_config=COLUMN_CONFIG)
        pairs = len(cache.load_data(data_key))  # files can hold fewer than requested
        st.caption(
            f"{len(rows):,} of {pairs:,} clean pairs; {format_count(skipped, 'drawn pairs')} skipped (no subtexts)."
        )


with page("Subtexts", LEAD, picture=".st-key-similarity"):
    with st.spinner("Loading PyTorch …"):
        cache.defenses()
        run = state.current_run()
        data_key = pickers.require_data(job_requests.find_clean_data(pickers.find_test_data(run)))
    left, right = st.columns([1, 2.8], gap="large")
    with left:
        sample, caption = choose_caption(data_key)
        draw = choose_draw()
    with right:
        with st.spinner("Loading the parser …"):
            pair = cache.draw_subtexts(caption, data_key, sample.index, draw)
        st.header(wording.section_title("Scores of the models", run), anchor=False)
        stages = pickers.choose_compared_stages(run)
        with st.spinner("Loading models …"):
            stages = pickers.drop_missing_clean_model(stages)
        show_similarities(stages, sample, caption, pair)
        st.header(f"Subtexts of epoch {draw.epoch}", anchor=False)
        show_subtexts(caption, pair)
        st.markdown("**Parse**")
        annotated_text.show_annotated_text(annotated_text.parsed_pieces(cache.parse(caption)))
    show_margins(stages, data_key, draw)
    show_epoch(data_key, draw)
    show_diagnostics(data_key, draw.seed, draw.negatives)
