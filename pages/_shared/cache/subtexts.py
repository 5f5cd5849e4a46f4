"""Captions: their parse, their subtexts, and how models judge them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from pages._shared.cache.background import import_library, load_grammar
from pages._shared.cache.choices import defenses
from pages._shared.cache.loaders import load_data, load_model
from pages._shared.cache.samples import image_pair

if TYPE_CHECKING:
    from cleaner.inspection.margins import DrawStats, Margin
    from cleaner.text import Parse, SubtextPair, Vocabulary
    from pages._shared.pickers import Sample


@st.cache_resource(show_spinner=False, max_entries=4)
def vocabulary(name: str, split: str, size: int) -> Vocabulary:
    """Return the words of the data's captions."""
    import_library()
    from cleaner.text import Vocabulary

    return Vocabulary.from_captions(load_data(name, split, size).captions)


def parse(caption: str) -> Parse:
    """Return the parse of a caption (the library remembers the last ones itself)."""
    load_grammar()
    from cleaner.text import parse

    return parse(caption)


@st.cache_data(show_spinner=False, max_entries=256)
def draw_subtexts(
    caption: str, seed: int, epoch: int, index: int, n: int, name: str, split: str, size: int
) -> SubtextPair:
    """Return the true and false texts that TA-Cleaner draws for pair `index` in `epoch`."""
    load_grammar()
    from cleaner.text import draw_subtexts

    words = vocabulary(name, split, size)
    return draw_subtexts(caption, seed=seed, epoch=epoch, index=index, n=n, vocabulary=words)


@st.cache_data(show_spinner=False, max_entries=64)
def draw_epoch(
    name: str, split: str, size: int, share: float, seed: int, epoch: int, n: int
) -> tuple[list[tuple[int, str, str, list[str]]], int]:
    """Return (pair, caption, true text, false texts) of all pairs drawn in an epoch; and how many were skipped."""
    captions = load_data(name, split, size).captions
    texts = defenses()["ta_cleaner"](share=share, negatives=n).plan(captions, seed)(epoch)
    rows = [
        (i, captions[i], pair.positive.text, [text.text for text in pair.negatives]) for i, pair in texts.drawn.items()
    ]
    return rows, texts.skipped


@st.cache_resource(show_spinner=False, max_entries=24)
def margins(
    model: tuple[str, ...], name: str, split: str, size: int, count: int, seed: int, epoch: int, n: int
) -> list[Margin]:
    """Return the `cleaner.inspection.margins.Margin` of the first pairs, each with the subtexts that the epoch would draw."""
    load_grammar()
    from cleaner.inspection.margins import compute_margins

    shown = load_data(name, split, size)
    texts = defenses()["ta_cleaner"](share=1.0, negatives=n).plan(shown.captions, seed)(epoch)
    return compute_margins(load_model(model), shown, {i: pair for i, pair in texts.drawn.items() if i < count})


@st.cache_resource(show_spinner=False, max_entries=24)
def epoch_diagnostics(
    name: str, split: str, size: int, share: float, seed: int, n: int, epochs: int
) -> list[DrawStats]:
    """Return the `cleaner.inspection.margins.DrawStats` of the first epochs."""
    load_grammar()
    from cleaner.inspection.margins import compute_draw_stats

    return compute_draw_stats(
        defenses()["ta_cleaner"](share=share, negatives=n).plan(load_data(name, split, size).captions, seed), epochs
    )


def fits_context(model: tuple[str, ...], text: str) -> bool:
    """Return whether a model reads all of a text, or cuts its end."""
    return load_model(model).fits_context(text)


@st.cache_data(show_spinner=False, max_entries=256)
def similarities(model: tuple[str, ...], sample: Sample, texts: tuple[str, ...]) -> list[float]:
    """Return the cosine of a picture, framed as `model` sees it, with each text."""
    import_library()
    from cleaner.inspection.similarity import compute_text_similarities

    return compute_text_similarities(load_model(model), image_pair(replace(sample, model=model), None), texts)
