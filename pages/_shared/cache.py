"""Cached twins of the library; the only file with st.cache_*. Heavy imports stay inside the functions.

Models and data are shared by all sessions and never changed: training works on copies.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from cleaner.types import CleanerError

if TYPE_CHECKING:
    from cleaner.clip import Clip
    from cleaner.data.base import CaptionData
    from cleaner.runs import Run
    from cleaner.text import Parse, SubtextPair, Vocabulary
    from cleaner.types import OnStep


_importing = threading.RLock()
"""Two threads that import torch and torchvision at the same time can block each other (`_DeadlockError`)."""


def library() -> None:
    """Import what the pages need; one thread at a time, the others wait for it. Costs nothing from then on."""
    with _importing:
        import cleaner.data.scenes
        import cleaner.pictures
        import cleaner.workflow  # noqa: F401


def grammar() -> None:
    """Load tagger and lexicon, which takes seconds the first time."""
    library()
    with _importing:
        from cleaner.text import parse

        parse("a red car on the grass")


@st.cache_resource(show_spinner=False)
def warm() -> bool:
    """Load library and grammar in the background: called at the end of a page, after its first paint."""
    threading.Thread(target=grammar, name="warm-up", daemon=True).start()
    return True


@st.cache_resource(show_spinner=False)
def triggers() -> dict[str, Any]:
    """Return name -> trigger class."""
    library()
    from cleaner.attacks import TRIGGERS

    return {name: TRIGGERS[name] for name in TRIGGERS}


def prepared(trigger: Any, state: dict[str, Any] | None) -> Any:
    """Return the trigger of a run, given by its state, if it is `trigger` after its preparation; else None."""
    from cleaner.attacks import load_trigger
    from cleaner.config import parameters

    wanted = {p.name: getattr(trigger, p.name) for p in parameters(type(trigger))}
    wanted["name"] = trigger.state_dict()["name"]
    if state is None or any(state.get(name) != value for name, value in wanted.items()):
        return None
    return load_trigger(state)


@st.cache_resource(show_spinner=False)
def defenses() -> dict[str, Any]:
    """Return name -> defence class."""
    library()
    from cleaner.defenses import DEFENSES

    return {name: DEFENSES[name] for name in DEFENSES}


@st.cache_resource(show_spinner=False)
def datasets() -> list[str]:
    """Return the names of all data sets."""
    library()
    from cleaner.data.base import DATASETS

    return list(DATASETS)


@st.cache_resource(show_spinner=False)
def models() -> list[str]:
    """Return the names of the built-in models."""
    library()
    from cleaner.clip import BUILT_IN

    return list(BUILT_IN)


@st.cache_resource(show_spinner=False, max_entries=24)
def data(name: str, split: str, size: int, _on_step: OnStep | None = None) -> CaptionData:
    """Return data by name; captions are ready at once, pictures are rendered at their first use."""
    library()
    from cleaner.data.base import load_data

    return load_data(name, split=split, size=size, on_step=_on_step)


@st.cache_resource(show_spinner=False, max_entries=6)
def clip(name: str) -> Clip:
    """Return a model by name or path, on the CPU in fp32."""
    library()
    from cleaner.clip import load_clip

    return load_clip(name)


@st.cache_resource(show_spinner=False, max_entries=8)
def _run(folder: str, changed: float) -> Run:
    library()
    from cleaner.runs import load_run

    return load_run(folder)


def run(folder: Path) -> Run:
    """Return a run with its weights; read again when its files have changed."""
    return _run(str(folder), (folder / "config.json").stat().st_mtime)


@st.cache_data(show_spinner=False, max_entries=64)
def verdict(folder: Path, metrics: dict[str, Any]) -> tuple[str, str]:
    """Return whether the attack took, and one sentence why."""
    library()
    from cleaner.evaluation import Metrics
    from cleaner.workflow import attack_verdict

    return attack_verdict(Metrics.from_dict(metrics))


@st.cache_resource(show_spinner=False)
def devices() -> dict[str, str | None]:
    """Return device -> None, or the reason why it cannot be used."""
    library()
    from cleaner.machine import devices

    return devices()


@st.cache_resource(show_spinner=False)
def precisions(device: str) -> dict[str, str | None]:
    """Return precision -> None, or the reason why it makes no sense on `device`."""
    library()
    from cleaner.machine import precisions

    return precisions(device)


@st.cache_resource(show_spinner=False)
def device_name(device: str) -> str:
    """Return what stands behind a device, in words."""
    library()
    from cleaner.machine import device_name

    return device_name(device)


@st.cache_data(show_spinner=False, max_entries=64)
def poison_plan(
    name: str, size: int, trigger: dict[str, Any], target_class: str, rate: float, seed: int, clean_label: bool
) -> list[tuple[int, str, str]]:
    """Return (index, caption before, caption after) of the pairs that would be poisoned."""
    library()
    from cleaner.attacks import load_trigger
    from cleaner.data.poison import PoisonedData

    clean = data(name, "train", size)
    poisoned = PoisonedData(clean, load_trigger(trigger), target_class, rate, seed, clean_label)
    return [(i, clean.captions[i], poisoned.captions[i]) for i in poisoned.poison_indices.tolist()]


@st.cache_data(show_spinner=False, max_entries=256)
def similarities(
    model: tuple[str, str], name: str, split: str, size: int, index: int, texts: tuple[str, ...]
) -> list[float]:
    """Return the cosine of picture `index` of the data with each text.

    `model` is ("model", name), ("clean", folder) for the model before a run, or ("run", folder) for the run's own.
    """
    library()
    from cleaner.similarity import similarity

    kind, where = model
    looked_at = None if kind == "model" else run(Path(where))
    used = clip(where) if looked_at is None else looked_at.clean_clip if kind == "clean" else looked_at.clip
    if used is None:
        raise CleanerError("the model before the poisoning is not known for this run.")
    return similarity(used, data(name, split, size).images([index]), texts)


@st.cache_resource(show_spinner=False, max_entries=4)
def vocabulary(name: str, split: str, size: int) -> Vocabulary:
    """Return the words of the data's captions."""
    library()
    from cleaner.text import Vocabulary

    return Vocabulary.from_captions(data(name, split, size).captions)


def parse(caption: str) -> Parse:
    """Return the parse of a caption (the library remembers the last ones itself)."""
    grammar()
    from cleaner.text import parse

    return parse(caption)


@st.cache_data(show_spinner=False, max_entries=256)
def draw(caption: str, seed: int, epoch: int, index: int, n: int, name: str, split: str, size: int) -> SubtextPair:
    """Return the true and false texts that TA-Cleaner draws for pair `index` in `epoch`."""
    grammar()
    from cleaner.text import draw_subtexts

    return draw_subtexts(caption, seed, epoch, index, n, vocabulary(name, split, size))


@st.cache_data(show_spinner=False, max_entries=64)
def epoch_draw(
    name: str, split: str, size: int, share: float, seed: int, epoch: int, n: int
) -> tuple[list[tuple[int, str, str, list[str]]], int]:
    """Return (pair, caption, true text, false texts) of all pairs drawn in an epoch; and how many were skipped."""
    captions = data(name, split, size).captions
    texts = defenses()["ta_cleaner"](share=share, negatives=n).plan(captions, seed)(epoch)
    rows = [
        (i, captions[i], pair.positive.text, [text.text for text in pair.negatives]) for i, pair in texts.drawn.items()
    ]
    return rows, texts.skipped
