"""Captions: their parse, their subtexts, and how models score them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from pages._shared.cache.background import import_library, load_grammar, wrap_in_thread
from pages._shared.cache.choices import defenses
from pages._shared.cache.loaders import load_data, load_model
from pages._shared.cache.samples import image_pair
from pages._shared.inspect.sample import DataKey, DrawKey, ModelKey, Sample

if TYPE_CHECKING:
    from cleaner.inspection.margins import DrawStats, Margin
    from cleaner.text import Parse, SubtextPair, Vocabulary
    from cleaner.types import OnStep


@st.cache_resource(show_spinner=False, max_entries=4)
def _build_vocabulary(data: DataKey) -> Vocabulary:
    import_library()
    from cleaner.text import Vocabulary

    return Vocabulary.from_captions(load_data(data).captions)


def warm_vocabulary(data: DataKey) -> None:
    """Read the captions of `data` and the words in them, which takes seconds for thousands."""
    load_grammar()
    _build_vocabulary(data)


def parse(caption: str) -> Parse:
    """Return the parse of a caption (the library caches recent ones itself)."""
    load_grammar()
    from cleaner.text import parse

    return parse(caption)


@st.cache_data(show_spinner=False, max_entries=256)
def draw_subtexts(caption: str, data: DataKey, index: int, draw: DrawKey) -> SubtextPair:
    """Return the positive and negative subtexts that TA-Cleaner draws for pair `index`."""
    load_grammar()
    from cleaner.text import draw_subtexts

    return draw_subtexts(
        caption,
        seed=draw.seed,
        epoch=draw.epoch,
        index=index,
        n=draw.negatives,
        vocabulary=_build_vocabulary(data),
    )


@st.cache_data(show_spinner=False, max_entries=64)
def draw_epoch(data: DataKey, share: float, draw: DrawKey) -> tuple[list[tuple[int, str, str, list[str]]], int]:
    """Return (pair, caption, positive, negatives) of all pairs drawn in an epoch, and the number skipped."""
    captions = load_data(data).captions
    texts = defenses()["ta_cleaner"](share=share, negatives=draw.negatives).plan(captions, draw.seed)(draw.epoch)
    rows = [
        (i, captions[i], pair.positive.text, [text.text for text in pair.negatives]) for i, pair in texts.drawn.items()
    ]
    return rows, texts.drawn.skipped


@st.cache_resource(show_spinner=False, max_entries=24)
def margins(model: ModelKey, data: DataKey, count: int, draw: DrawKey, _on_step: OnStep | None = None) -> list[Margin]:
    """Return the margin of each of the first `count` pairs, with the subtexts of that epoch."""
    load_grammar()
    from cleaner.inspection.margins import compute_margins

    pairs = load_data(data)
    texts = defenses()["ta_cleaner"](share=1.0, negatives=draw.negatives).plan(pairs.captions, draw.seed)(draw.epoch)
    drawn = {i: texts.drawn[i] for i in range(count) if i in texts.drawn}
    return compute_margins(load_model(model), pairs, drawn, wrap_in_thread(_on_step))


@st.cache_resource(show_spinner=False, max_entries=24)
def epoch_diagnostics(data: DataKey, share: float, *, seed: int, negatives: int, epochs: int) -> list[DrawStats]:
    """Return statistics of the draws of the first `epochs` epochs."""
    load_grammar()
    from cleaner.inspection.margins import compute_draw_stats

    defense = defenses()["ta_cleaner"](share=share, negatives=negatives)
    return compute_draw_stats(defense.plan(load_data(data).captions, seed), epochs)


def fits_context(model: ModelKey, text: str) -> bool:
    """Return whether a text fits the model's context length."""
    return load_model(model).fits_context(text)


def cut_to_context(model: ModelKey, text: str) -> str:
    """Return a text as far as the model reads it."""
    return load_model(model).cut_to_context([text])[0]


@st.cache_data(show_spinner=False, max_entries=256)
def similarities(model: ModelKey, sample: Sample, texts: tuple[str, ...]) -> list[float]:
    """Return the cosine of an image, under the model's own image transform, with each text."""
    import_library()
    from cleaner.inspection.similarity import compute_similarities

    return compute_similarities(load_model(model), image_pair(replace(sample, model=model), None), texts)[0]
