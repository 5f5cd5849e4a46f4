"""Detections: compute the scores of training pairs and of test images."""

from pathlib import Path
from typing import Any

import streamlit as st

from cleaner.types import OnStep
from pages._shared.cache.background import import_library, load_grammar, wrap_in_thread
from pages._shared.cache.loaders import FILE_TIMES, load_data, load_model, load_run
from pages._shared.cache.samples import image_pair
from pages._shared.cache.works import wait_for_work
from pages._shared.inspect.sample import DataKey, Sample


@st.cache_resource(show_spinner=False)
def detectors(question: str) -> dict[str, Any]:
    """Return name -> class of the detectors that answer "pairs" or "image"."""
    import_library()
    from cleaner.detectors.base import find_detectors

    return find_detectors(question)


def make_detection(folder: Path, on_step: OnStep) -> Any:
    """Compute the detection of a run, save it and return it."""
    from cleaner.inspection.pair_detection import store_detection

    def compute(share: OnStep) -> Any:
        clip, pairs = load_model(("run", str(folder))), training_pairs(folder, share)
        return store_detection(folder, clip, pairs, features=pair_features(folder, share), on_step=share)

    return wait_for_work(("detection", str(folder)), compute, on_step)


@st.cache_resource(show_spinner=False, max_entries=4, hash_funcs=FILE_TIMES)
def training_pairs(folder: Path, _on_step: OnStep | None = None) -> Any:
    """Return the poisoned training pairs of a run; `_on_step` receives the progress of rendering."""
    import_library()
    from cleaner.inspection.training_pairs import load_training_pairs

    framing = load_model(("run", str(folder))).framing
    return load_training_pairs(folder, framing, wrap_in_thread(_on_step))


@st.cache_resource(show_spinner=False, max_entries=4, hash_funcs=FILE_TIMES)
def pair_features(folder: Path, _on_step: OnStep) -> Any:
    """Return the features of a run's training pairs, encoded once per server."""
    from cleaner.inspection.pair_detection import extract_pair_features, limit_pairs

    clip, pairs = load_model(("run", str(folder))), training_pairs(folder, _on_step)
    return extract_pair_features(clip, pairs, limit_pairs(clip, pairs), wrap_in_thread(_on_step))


@st.cache_resource(show_spinner=False, max_entries=32, hash_funcs=FILE_TIMES)
def score_pairs(folder: Path, detector: Any, reference_size: int, _on_step: OnStep) -> tuple[Any, Any]:
    """Return the scores (N,) of a run's training pairs by a detector, and their `DetectionFigures`, or None."""
    from cleaner.evaluation.detection import measure_ranking
    from cleaner.inspection.pair_detection import find_truth, score_pairs

    scores = score_pairs(pair_features(folder, _on_step), detector, reference_size)
    return scores, measure_ranking(scores, *find_truth(training_pairs(folder), len(scores)))


@st.cache_data(show_spinner=False, max_entries=32, hash_funcs=FILE_TIMES)
def training_images(folder: Path, indices: tuple[int, ...]) -> Any:
    """Return training images of a run as trained on, with triggers, as uint8 (N, H, W, 3)."""
    from cleaner.data.images import to_uint8

    return to_uint8(training_pairs(folder).images(list(indices)))


def training_captions(folder: Path, indices: tuple[int, ...]) -> list[str]:
    """Return training captions of a run as trained on, with those of the target."""
    captions = training_pairs(folder).captions
    return [captions[i] for i in indices]


@st.cache_resource(show_spinner=False, max_entries=16, hash_funcs=FILE_TIMES)
def detect_images(folder: Path, detector: Any, test: DataKey, calibration: DataKey, n: int, _on_step: OnStep) -> Any:
    """Return the `ImageDetection` of the first `n` test images of a run that count."""
    load_grammar()
    from cleaner.inspection.image_detection import detect_images

    run, name = load_run(folder), detector.state_dict()["name"]
    return detect_images(
        run.clip,
        {name: detector},
        test=load_data(test, _on_step),
        calibration=load_data(calibration, _on_step),
        trigger=run.trigger,
        target_class=str(run.target_class),
        n=n,
        on_step=wrap_in_thread(_on_step),
    )[name]


@st.cache_data(show_spinner=False, max_entries=128)
def score_sample(folder: Path, detector: Any, sample: Sample) -> list[float]:
    """Return a run's scores of one image without and with its trigger."""
    load_grammar()
    from cleaner.inspection.image_detection import score_single

    clip, pair = load_model(("run", str(folder))), image_pair(sample, folder)
    return score_single(clip, detector, load_data(sample.data), pair)
