"""The film of a training: probe images and prompts at up to 16 steps. Reading it imports nothing heavy."""

import io
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cleaner.files import MAX_PATCH_SIDE, FileVersion, read_version
from cleaner.runs.npz import NPZ_ERRORS, read_npz, write_npz

FILM_FILE = "film.npz"
FILM_VERSION = 1
Array = NDArray[Any]


@dataclass(frozen=True)
class Axes:
    """Orthogonal projection of unit features (D,) to the map: (feature - center) @ directions.T."""

    center: Array
    """(D,) float32."""
    directions: Array
    """(2, D) float32."""

    def project(self, features: Array) -> Array:
        """Return the coordinates (N, 2) of features (N, D)."""
        return np.asarray((features - self.center) @ self.directions.T, np.float32)


@dataclass(frozen=True, kw_only=True)
class Film:
    """F frames of P probe images, clean and with the trigger.

    Without a known attack, and for a key in the text alone, there are no triggered images: the arrays about them are
    empty, and the gallery and the attention show the clean ones.

    Attributes:
        steps: (F) steps after which the frames were taken; 0 is the model before the training. total: all its steps.
        data: name of the probe images' data; labels: (P) their classes; class_names: C names.
        target: index of the attacked class; None without a known attack.
        prompts: classes whose prompts are on the map.
        gallery: (G) probe images of the gallery; explainer: label of the attribution method, empty for none.
        images: (G) images of the gallery, WebP files, as the model saw them in `gallery_classes`.
        axes: fitted on the frames of the backdoored run, whose defenses have the same; without its film, on this one.
        points: (F, P + P + prompts, 2) float16 coordinates: clean images, triggered images, prompts.
        clean_classes, triggered_classes: (F, P) int32 best class of each probe image; -1 for one without finite scores.
        gallery_classes, gallery_scores: (F, G, k) best classes of the gallery's images, best first, and their softmax
            probabilities, float16.
        attention: (F, A, h, w) uint8, the attribution of the best class to the first A images of the gallery, each
            scaled to its maximum.
    """

    steps: list[int]
    total: int
    data: str
    labels: list[int]
    class_names: list[str]
    target: int | None
    prompts: list[int]
    gallery: list[int]
    explainer: str
    images: list[bytes]
    axes: Axes
    points: Array
    clean_classes: Array
    triggered_classes: Array
    gallery_classes: Array
    gallery_scores: Array
    attention: Array

    @property
    def has_trigger(self) -> bool:
        return bool(self.triggered_classes.shape[1])

    def accuracy(self) -> list[float]:
        """Return the share of clean probe images whose true class is first, for each frame."""
        return [float(value) for value in (self.clean_classes == np.array(self.labels)).mean(axis=1)]

    def attack_success(self) -> list[float]:
        """Return ASR@1 on the probe images of other classes, for each frame; empty without triggered images."""
        is_other = np.array(self.labels) != self.target
        if not self.has_trigger or not is_other.any():
            return []
        return [float(value) for value in (self.triggered_classes[:, is_other] == self.target).mean(axis=1)]


_ARRAYS = {
    "points": (np.float16, 3),
    "clean_classes": (np.int32, 2),
    "triggered_classes": (np.int32, 2),
    "gallery_classes": (np.int32, 3),
    "gallery_scores": (np.float16, 3),
    "attention": (np.uint8, 4),
}
"""Array of `Film` -> its type on disk and its dimensions."""


def write_film(film: Film, folder: Path) -> None:
    """Write the film of the run in `folder`, atomically."""
    arrays: dict[str, Any] = {name: getattr(film, name).astype(kind) for name, (kind, _) in _ARRAYS.items()}
    arrays |= {"center": film.axes.center, "directions": film.axes.directions}
    arrays["images"] = np.frombuffer(b"".join(film.images), np.uint8)
    about = {f.name: getattr(film, f.name) for f in fields(film) if f.name not in (*arrays, "axes")}
    about |= {"version": FILM_VERSION, "image_sizes": [len(image) for image in film.images]}
    write_npz(folder / FILM_FILE, about, arrays)


def has_film(folder: Path) -> bool:
    """Return whether a run has a file with a film."""
    return (folder / FILM_FILE).exists()


def read_film(folder: Path) -> Film | None:
    """Return the film of a run; None if it is missing, broken or of a newer version."""
    return read_version(folder / FILM_FILE, _read_version)


@lru_cache(maxsize=16)
def _read_version(path: Path, version: FileVersion) -> Film | None:
    try:
        about, arrays = read_npz(path)
        if about.pop("version") > FILM_VERSION:
            return None
        axes, content = Axes(arrays["center"], arrays["directions"]), arrays["images"].tobytes()
        ends = np.cumsum([0, *about.pop("image_sizes")]).tolist()
        images = [content[begin:end] for begin, end in pairwise(ends)]
        film = Film(images=images, axes=axes, **{name: arrays[name] for name in _ARRAYS}, **about)
        return film if _is_consistent(film) and all(map(_is_small_webp, images)) else None
    except NPZ_ERRORS:
        return None


def _is_small_webp(image: bytes) -> bool:
    """Return whether a file has the header of a small WebP image: each is decoded at once where a film is drawn."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image), formats=["WEBP"]) as file:
            return max(file.size) <= MAX_PATCH_SIDE
    except (OSError, Image.DecompressionBombError):
        return False


def _is_consistent(film: Film) -> bool:
    """Return whether the values have their types and fit each other: a file may be damaged or edited."""
    target = [] if film.target is None else [film.target]
    numbers = (film.total, *film.steps, *film.labels, *film.prompts, *film.gallery, *target)
    texts = (film.data, film.explainer, *film.class_names)
    if not (all(type(i) is int for i in numbers) and all(isinstance(text, str) for text in texts)):
        return False
    arrays = {name: getattr(film, name) for name in _ARRAYS}
    if any(
        (array.dtype, array.ndim) != _ARRAYS[name] or len(array) != len(film.steps) for name, array in arrays.items()
    ):
        return False
    probes, triggered = film.clean_classes.shape[1], film.triggered_classes.shape[1]
    named = np.concatenate([film.clean_classes.ravel(), film.triggered_classes.ravel(), film.gallery_classes.ravel()])
    return bool(
        film.steps
        and all(0 <= step <= film.total for step in film.steps)
        and film.total > 0
        and 0 < probes == len(film.labels)
        and triggered in (0, probes)
        and film.points.shape[1:] == (probes + triggered + len(film.prompts), 2)
        and np.isfinite(film.points).all()
        and np.isfinite(film.gallery_scores).all()
        and film.gallery_classes.shape[2] > 0
        and film.gallery_classes.shape == film.gallery_scores.shape
        and film.gallery_classes.shape[1] == len(film.gallery) == len(film.images)
        and film.attention.shape[1] <= len(film.gallery)
        and named.min(initial=-1) >= -1
        and named.max(initial=-1) < len(film.class_names)
        and all(0 <= i < probes for i in film.gallery)
        and all(0 <= i < len(film.class_names) for i in (*film.labels, *film.prompts, *target))
    )
