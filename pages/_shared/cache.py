"""Cached twins of the library; the only file with st.cache_*. Heavy imports stay inside the functions.

Models and data are shared by all sessions and never changed: training works on copies.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st
from streamlit.runtime.scriptrunner import add_script_run_ctx, get_script_run_ctx

from cleaner.files import cache_root
from cleaner.request import data_words
from cleaner.runs import is_shipped
from cleaner.types import CleanerError

if TYPE_CHECKING:
    from cleaner.clip import Clip
    from cleaner.data.base import CaptionData
    from cleaner.framing import Framing
    from cleaner.report import Entry
    from cleaner.runs import Run
    from cleaner.subtexts import Margin, Signs
    from cleaner.text import Parse, SubtextPair, Vocabulary
    from cleaner.types import OnStep, StepReport
    from pages._shared.view import Sample


_importing = threading.RLock()
"""Two threads that import torch and torchvision at the same time can block each other (`_DeadlockError`)."""
LOOK = 1000
"""Test pairs that a model is looked at with before anything is done."""


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


def _aside(on_step: OnStep | None) -> OnStep | None:
    """Return an `on_step` that draws from a thread of its own.

    What a cached function draws itself, Streamlit draws again whenever the cache answers, and fails where the place for
    it is gone.
    """
    if on_step is None:
        return None

    def tell(report: StepReport) -> None:
        thread = threading.Thread(target=on_step, args=(report,), name="progress")
        add_script_run_ctx(thread, get_script_run_ctx())
        thread.start()
        thread.join()

    return tell


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
    """Return the names of the data that need no path."""
    library()
    from cleaner.data.base import built_in

    return built_in()


@st.cache_resource(show_spinner=False)
def models() -> list[str]:
    """Return the names of the built-in models whose weights are there."""
    library()
    from cleaner.checkpoints import BUILT_IN, built_in_file

    return [name for name in BUILT_IN if built_in_file(name).exists()]


@st.cache_resource(show_spinner=False, max_entries=24)
def data(name: str, split: str, size: int, _on_step: OnStep | None = None) -> CaptionData:
    """Return data by name, which may carry a path and options ("pairs.csv classes=cat,dog").

    Captions are ready at once; pictures are rendered, or read from their files, at their first use.
    """
    library()
    from cleaner.data.base import load_data

    known, options = data_words(name)
    return load_data(known, split=split, size=size, on_step=_aside(_on_step), **options)


def packed(files: list[tuple[str, bytes]]) -> str:
    """Keep uploaded files beside the runs that will name them; return the path of the zip they are in."""
    library()
    from cleaner.data.archive import packed
    from cleaner.runs import runs_root

    return str(packed(files, runs_root() / "uploads"))


def located_data(name: str) -> tuple[str, dict[str, Any]]:
    """Return name and options of data by name, files as absolute paths."""
    library()
    from cleaner.data.base import located

    return located(*data_words(name))


def framed(shown: CaptionData, model: str) -> CaptionData:
    """Return data with pictures as a model sees them; as they are where that is not known without opening its file."""
    known = framing_of(model)
    return shown if known is None else shown.framed(known)


def framing_of(model: str) -> Framing | None:
    """Return how a model sees pictures, if that is known without opening its file."""
    from cleaner.checkpoints import framing_of

    return framing_of(model)


def seen(sample: Sample, attacked: Path | None) -> CaptionData:
    """Return the data of a picture, framed as the run's model sees them: its trigger acts on that."""
    shown = data(sample.data, sample.split, sample.size)
    return shown if attacked is None else shown.framed(run(attacked).clip.framing)


def _changed(model: str) -> float:
    """Return when the file behind a model's name was last written; 0 where it is no file."""
    paths = [Path(model), Path(model.partition(":")[2])]
    return next((path.stat().st_mtime for path in paths if path.is_file()), 0.0)


@st.cache_resource(show_spinner=False, max_entries=6)
def _clip(name: str, changed: float) -> Clip:
    library()
    from cleaner.clip import load_clip

    return load_clip(name)


def clip(name: str) -> Clip:
    """Return a model by name or path, on the CPU in fp32; read again when its file has changed."""
    return _clip(name, _changed(name))


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

    used = of_stage(model)
    return similarity(used, data(name, split, size).framed(used.framing).images([index]), texts)


def of_stage(model: tuple[str, str]) -> Clip:
    """Return the model meant by ("model", name), ("clean", folder) or ("run", folder)."""
    kind, where = model
    looked_at = None if kind == "model" else run(Path(where))
    used = clip(where) if looked_at is None else looked_at.clean_clip if kind == "clean" else looked_at.clip
    if used is None:
        raise CleanerError("the model before the poisoning is not known for this run.")
    return used


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


@st.cache_resource(show_spinner=False, max_entries=24)
def margins(
    model: tuple[str, str], name: str, split: str, size: int, first: int, seed: int, epoch: int, n: int
) -> list[Margin]:
    """Return the `cleaner.subtexts.Margin` of the first pairs, each with the subtexts that the epoch would draw."""
    grammar()
    from cleaner.subtexts import margins

    shown = data(name, split, size)
    texts = defenses()["ta_cleaner"](share=1.0, negatives=n).plan(shown.captions, seed)(epoch)
    return margins(of_stage(model), shown, {i: pair for i, pair in texts.drawn.items() if i < first})


@st.cache_resource(show_spinner=False, max_entries=24)
def signs(name: str, split: str, size: int, share: float, seed: int, n: int, epochs: int) -> list[Signs]:
    """Return the `cleaner.subtexts.Signs` of the first epochs."""
    grammar()
    from cleaner.subtexts import signs

    return signs(
        defenses()["ta_cleaner"](share=share, negatives=n).plan(data(name, split, size).captions, seed), epochs
    )


@st.cache_resource(show_spinner=False)
def explainers() -> dict[str, Any]:
    """Return name -> explainer class."""
    from cleaner.explain import EXPLAINERS

    return {name: EXPLAINERS[name] for name in EXPLAINERS}


def picture_pair(sample: Sample, attacked: Path | None) -> Any:
    """Return a picture, and the same one with the run's trigger where there is one, as (1 or 2, 3, H, W) in [0, 1]."""
    from cleaner.inspection import with_trigger
    from cleaner.pictures import from_bytes

    shown = seen(sample, attacked)
    if sample.own is None:
        clean = shown.images([sample.index])
    else:
        clean = from_bytes(sample.own[1], shown.image_size, sample.own[0])[None]
    return with_trigger(clean, run(attacked).trigger if attacked is not None else None)


def shown_pair(sample: Sample, attacked: Path | None) -> Any:
    """Return `picture_pair` as bytes (1 or 2, H, W, 3)."""
    from cleaner.pictures import to_bytes

    return to_bytes(picture_pair(sample, attacked))


def trigger_mask(sample: Sample, attacked: Path | None) -> Any:
    """Return where the trigger lies on a picture, (H, W) in [0, 1], or None without a trigger."""
    trigger = run(attacked).trigger if attacked is not None else None
    return None if trigger is None else trigger.mask(picture_pair(sample, attacked)[:1])[0, 0].numpy()


@st.cache_data(show_spinner=False, max_entries=128)
def attribution(
    model: tuple[str, str], method: str, settings: dict[str, Any], sample: Sample, attacked: Path | None, text: str
) -> tuple[Any, list[float]]:
    """Return maps (1 or 2, H, W) of the clean and the triggered picture, and the cosine of each with the text."""
    from cleaner.inspection import cosines, text_feature

    used, pictures = of_stage(model), picture_pair(sample, attacked)
    maps = explainers()[method](**settings).attribute(used, pictures, text_feature(used, text))
    return maps.numpy(), cosines(used, pictures, text)


@st.cache_data(show_spinner=False, max_entries=16)
def _describe(model: str, changed: float) -> str | None:
    library()
    from cleaner.checkpoints import describe

    return describe(model)


def describe(model: str) -> str | None:
    """Return what is known of a model's file without opening it; None where it is no file."""
    return _describe(model, _changed(model))


def is_of(config: dict[str, Any], model: str) -> bool:
    """Return whether a run started from this model, and not from a run."""
    from cleaner.request import found

    return not config.get("parent") and (config.get("request") or {}).get("model") == found(model)


def look_at(model: str, name: str) -> tuple[list[str], Any]:
    """Return what an opened model says of itself, in sentences, and its `Metrics` on some test pictures."""
    return _look_at(model, name, _changed(model))


@st.cache_resource(show_spinner=False, max_entries=4)
def _look_at(model: str, name: str, changed: float) -> tuple[list[str], Any]:
    from cleaner.evaluation import evaluate
    from cleaner.inspection import about

    return about(clip(model)), evaluate(clip(model), data(name, "test", LOOK), ks=(1,), counterfactual=False)


@st.cache_resource(show_spinner=False, max_entries=16)
def _scan(model: str, changed: float, name: str, trigger: str, n: int, _trigger: Any, _on_step: OnStep) -> Any:
    from cleaner.scan import WARNING, known_triggers, scan

    tried, left = known_triggers() if _trigger is None else ({_trigger.state_dict()["name"]: _trigger}, {})
    return scan(clip(model), data(name, "test", n), tried, n, _aside(_on_step)), left, WARNING


def scan(model: str, name: str, trigger: Any, n: int, on_step: OnStep) -> Any:
    """Return the lines of a scan, name -> why not of the triggers left out, and the warning.

    `trigger`: the only one to try; None: all built-in ones.
    """
    if trigger is not None and trigger.missing:
        raise CleanerError(trigger.missing)
    settings = "" if trigger is None else str(trigger.state_dict())
    return _scan(model, _changed(model), name, settings, n, trigger, on_step)


def explains(model: tuple[str, str], method: str) -> tuple[str | None, dict[str, int], int]:
    """Return why a method cannot look into a model (or None), the limits of its parameters, its grid of cells."""
    explainer, used = explainers()[method](), of_stage(model)
    reason = explainer.unfit(used)
    return reason, {} if reason else dict(explainer.limits(used)), 0 if reason else explainer.grid(used)


def shares(maps: Any, sample: Sample, attacked: Path) -> Any:
    """Return the `cleaner.inspection.Shares` of one picture's maps (2, H, W) without and with trigger."""
    from cleaner.inspection import shares_of_pair

    return shares_of_pair(maps, trigger_mask(sample, attacked))


@st.cache_resource(show_spinner=False, max_entries=64)
def shares_over(
    model: tuple[str, str], method: str, settings: dict[str, Any], name: str, size: int, attacked: Path, text: str,
    n: int, _on_step: OnStep,
) -> Any:  # fmt: skip
    """Return the `cleaner.inspection.Shares` of n test pictures."""
    from cleaner.inspection import shares_over

    attack = run(attacked)
    assert attack.trigger is not None
    explainer = explainers()[method](**settings)
    return shares_over(
        of_stage(model), explainer, data(name, "test", size), attack.trigger, str(attack.target_class), text, n,
        _aside(_on_step),
    )  # fmt: skip


@st.cache_data(show_spinner=False, max_entries=128)
def word_attribution(
    model: tuple[str, str], sample: Sample, attacked: Path | None, caption: str
) -> tuple[list[str], list[list[float]]]:
    """Return a caption's words, and what each adds to the similarity to the clean and the triggered picture."""
    from cleaner.inspection import word_attribution

    explainer = next(cls() for cls in explainers().values() if cls.reads == "captions")
    return word_attribution(of_stage(model), explainer, caption, picture_pair(sample, attacked))


@st.cache_resource(show_spinner=False, max_entries=12)
def layers(model: tuple[str, str], name: str, size: int, n: int, attacked: Path | None) -> Any:
    """Return the `cleaner.inspection.Layers` of a model on the first n single-class test pairs."""
    from cleaner.inspection import layers

    attack = run(attacked) if attacked is not None else None
    trigger, target = (attack.trigger, attack.target_class) if attack is not None else (None, None)
    return layers(of_stage(model), data(name, "test", size), n, trigger, target)


@st.cache_resource(show_spinner=False)
def kinds_on_maps() -> tuple[str, ...]:
    """Return the kinds of features in a `Layers`, in their order."""
    from cleaner.inspection import KINDS

    return KINDS


@st.cache_data(show_spinner=False, max_entries=24)
def map_rows(name: str, size: int, n: int) -> tuple[list[int], list[int]]:
    """Return row and class of the first n single-class test pairs."""
    from cleaner.inspection import single_object_rows

    rows = single_object_rows(data(name, "test", size), n)
    return rows.tolist(), data(name, "test", size).labels[rows].tolist()


@st.cache_data(show_spinner=False, max_entries=48)
def numbers(
    model: tuple[str, str], name: str, size: int, n: int, attacked: Path | None, target: int | None
) -> dict[str, float]:
    """Return `cleaner.inspection.numbers` of a model."""
    from cleaner.inspection import numbers, single_object_rows

    shown = data(name, "test", size)
    return numbers(layers(model, name, size, n, attacked), shown.labels[single_object_rows(shown, n)], target)


@st.cache_data(show_spinner=False, max_entries=48)
def shifts(
    before: tuple[str, str], after: tuple[str, str], name: str, size: int, n: int, attacked: Path | None
) -> dict[str, list[float]]:
    """Return `cleaner.inspection.shifts` between two models."""
    from cleaner.inspection import shifts

    return shifts(*(layers(model, name, size, n, attacked) for model in (before, after)))


def _union(models: tuple[tuple[str, str], ...], name: str, size: int, n: int, attacked: Path | None) -> Any:
    from cleaner.inspection import stacked

    return stacked([layers(model, name, size, n, attacked) for model in models])


@st.cache_resource(show_spinner=False, max_entries=12)
def pca(models: tuple[tuple[str, str], ...], name: str, size: int, n: int, attacked: Path | None) -> Any:
    """Return coordinates (N, 2) of all features of all models, one after the other, and their trustworthiness."""
    from cleaner.projection import Projection

    union = _union(models, name, size, n, attacked)
    return judged(Projection("pca").fit(union), union)


def judged(places: Any, union: Any) -> tuple[Any, float]:
    """Return coordinates with their trustworthiness."""
    from cleaner.inspection import trust

    places.flags.writeable = False
    return places, trust(union, places)


def umap_file(models: tuple[tuple[str, str], ...], name: str, size: int, n: int, attacked: Path) -> Path:
    """Return where the UMAP of these features is kept: with the run whose trigger they show, if it can be written."""
    from cleaner.seed import derive

    place = cache_root() / attacked.name if is_shipped(attacked) else attacked
    return place / "projections" / f"umap-{derive(repr(models), name, size, n):x}.npy"


@st.cache_resource(show_spinner=False, max_entries=12)
def umap(models: tuple[tuple[str, str], ...], name: str, size: int, n: int, attacked: Path, written: float) -> Any:
    """Return what `pca` returns, read from `umap_file`, or None if that does not fit."""
    from cleaner.projection import load_coordinates

    union = _union(models, name, size, n, attacked)
    places = load_coordinates(umap_file(models, name, size, n, attacked), len(union))
    return None if places is None else judged(places, union)


@st.cache_resource(show_spinner=False)
def _fitting() -> dict[Path, Any]:
    return {}


def fit_umap(models: tuple[tuple[str, str], ...], name: str, size: int, n: int, attacked: Path) -> bool:
    """Begin to fit UMAP in a process of its own unless that is being done; return whether it still works on it."""
    from cleaner.projection import start

    file, running = umap_file(models, name, size, n, attacked), _fitting()
    if file not in running:
        running[file] = start(_union(models, name, size, n, attacked), file)
    busy: bool = running[file].poll() is None
    if not busy:
        del running[file]
    return busy


def is_fitting(file: Path) -> bool:
    """Whether a process is working on this file of coordinates."""
    return file in _fitting()


def stamp(sample: Sample, attacked: Path) -> tuple[int, int, int, int] | None:
    """Return left, top, width and height in px of the box that the run's trigger changes; None if it has no place."""
    from cleaner.pictures import stamp

    return stamp(picture_pair(sample, attacked)[:1], run(attacked).trigger)


def placed(sample: Sample, attacked: Path | None, left: int, top: int, strength: float) -> Any:
    """Return the picture with the run's trigger at a place, (1, 3, H, W) and as bytes (H, W, 3)."""
    from cleaner.pictures import placed, to_bytes

    picture = picture_pair(sample, attacked)[:1]
    if attacked is not None and strength > 0:
        picture = placed(picture, run(attacked).trigger, left, top, strength)
    return picture, to_bytes(picture)[0]


@st.cache_data(show_spinner=False, max_entries=256)
def best_classes(
    model: tuple[str, str], sample: Sample, attacked: Path | None, left: int, top: int, strength: float
) -> list[tuple[str, float, float]]:
    """Return the five best classes of a picture with the trigger at a place: (name, probability, cosine)."""
    from cleaner.inspection import best_classes

    picture, _ = placed(sample, attacked, left, top, strength)
    return best_classes(of_stage(model), data(sample.data, sample.split, sample.size), picture)[0]


def entries(folders: list[Path]) -> list[Entry]:
    """Return runs as reports see them."""
    from cleaner.report import read

    return [read(folder) for folder in folders]


@st.cache_data(show_spinner=False, max_entries=64)
def weight_forms(folder: Path) -> tuple[str, ...]:
    """Return the suffixes of the files in which a run's weights can be had."""
    library()
    from cleaner.report import weight_forms

    return weight_forms(folder)


def report_html(folders: list[Path]) -> str:
    """Return the HTML report of some runs."""
    from cleaner.report import html

    return html(entries(folders), "made on the Compare page")
