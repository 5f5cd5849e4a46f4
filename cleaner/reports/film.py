"""The film of one or two runs as values for its player (film.js), and as an HTML file that loads nothing."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cleaner.files import write_text
from cleaner.plots.component import read_script, read_style
from cleaner.plots.styles import Style, find_styles
from cleaner.reports.paths import hide_folders
from cleaner.runs.film import Film, read_film
from cleaner.runs.names import label_film, name_rate, name_seed, tell_apart
from cleaner.runs.progress import read_progress
from cleaner.runs.record import RunRecord
from cleaner.types import CleanerError

MAX_FILMS = 2
"""Films that play side by side."""
_FOLDER = Path(__file__).parent
SCRIPT, STYLE = _FOLDER / "film.js", _FOLDER / "film.css"
"""The player."""
MARGIN = 0.05
"""Empty share of the map on each side."""
Bounds = tuple[float, float, float, float]


class Movie(NamedTuple):
    """One film to show, with the log of its run: metric -> [(step, value)]. kind: its defense or stage."""

    label: str
    film: Film
    log: dict[str, list[tuple[int, float]]]
    kind: str = "defended"


def load_movies(records: Sequence[RunRecord]) -> list[Movie]:
    """Return the films of one or two runs. Raises `CleanerError` for another number, or a run without a film."""
    if not 1 <= len(records) <= MAX_FILMS:
        raise CleanerError(f"a film shows one or two runs, not {len(records)}: choose others.")
    movies = []
    for record, label in zip(records, tell_apart(records, label_film, name_rate, name_seed), strict=True):
        film = read_film(record.folder)
        if film is None:
            raise CleanerError(
                f"the run {record.label} has no film: it was made without one, or with data that name no classes. "
                "Train it again with a film, on data with classes."
            )
        movies.append(Movie(label, film, read_log(record.folder), record.kind))
    return movies


def read_log(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return metric -> [(step, value)] on the validation images, as the run logged them."""
    reports = [report for report in read_progress(folder) if report.get("metrics")]
    return {
        name: [(int(r["step"]), float(r["metrics"][name])) for r in reports if name in r["metrics"]]
        for name in ("asr", "ca")
    }


def make_player_data(movies: Sequence[Movie], key: str = "") -> dict[str, Any]:
    """Return what film.js draws, JSON-ready; `key` changes with the films."""
    bounds = find_bounds([movie.film for movie in movies])
    styles = find_styles(movie.kind for movie in movies)
    return {"key": key, "films": [_describe(movie, style, bounds) for movie, style in zip(movies, styles, strict=True)]}


def has_common_axes(movies: Sequence[Movie]) -> bool:
    """Return whether positions on the maps of all films mean the same."""
    return all(np.array_equal(movie.film.axes.directions, movies[0].film.axes.directions) for movie in movies)


def find_bounds(films: Sequence[Film]) -> Bounds:
    """Return left, bottom, right, top of all points of all frames."""
    points = np.concatenate([film.points.reshape(-1, 2).astype(float) for film in films])
    (left, bottom), (right, top) = points.min(0), points.max(0)
    x, y = MARGIN * max(right - left, 1e-3), MARGIN * max(top - bottom, 1e-3)
    return left - x, bottom - y, right + x, top + y


def count_points(film: Film) -> list[int]:
    """Return the number of clean images, triggered images and prompts on the map."""
    return [len(film.labels), film.triggered_classes.shape[1], len(film.prompts)]


def _describe(movie: Movie, style: Style, bounds: Bounds) -> dict[str, Any]:
    film = movie.film
    scaled = np.clip(np.nan_to_num(film.points.astype(np.float64)), -1e3, 1e3)
    largest = max(np.abs(bounds).max(), 1e-6)
    return {
        "label": movie.label,
        "color": style.color,
        "sign": style.sign,
        "steps": film.steps,
        "total": film.total,
        "labels": film.labels,
        "classes": film.class_names,
        "target": film.target,
        "prompts": film.prompts,
        "counts": count_points(film),
        "points": _encode((scaled / largest * 32767).round().astype("<i2")),
        "bounds": [value / largest for value in bounds],
        "clean_classes": film.clean_classes.tolist(),
        "triggered_classes": film.triggered_classes.tolist(),
        "gallery": film.gallery,
        "gallery_classes": film.gallery_classes.tolist(),
        "gallery_scores": film.gallery_scores.astype(float).round(4).tolist(),
        "images": [f"data:image/webp;base64,{base64.b64encode(image).decode()}" for image in film.images],
        "attention": _encode(film.attention),
        "attention_count": film.attention.shape[1],
        "attention_cells": film.attention.shape[2],
        "explainer": film.explainer,
        "asr": film.attack_success(),
        "ca": film.accuracy(),
        "log": movie.log,
    }


def _encode(array: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def describe_film(movies: Sequence[Movie]) -> str:
    """Describe the film in a few sentences, with the number of images."""
    film = movies[0].film
    others = sum(label != film.target for label in film.labels)
    attacked = f", {others} of them not of the target class" if film.has_trigger else ""
    counts = " and ".join(dict.fromkeys(str(len(movie.film.steps)) for movie in movies))
    text = (
        f"{len(film.labels)} images of {hide_folders(film.data)}{attacked}, seen by the model at {counts} steps; "
        "between them, points move on straight lines. Axes: two principal components of the images, fitted on the film "
        "of the poisoning where there is one; the same in all frames. Circles in the curves: the run's own log, on its "
        "validation images."
    )
    target = "" if film.target is None else "orange ▲ the target class, "
    text += f" Marks show what the model predicts: {target}green ✓ the true class, gray ? another one."
    if any(movie.film.attention.shape[1] for movie in movies):
        text += " Attention: of the best class, each map scaled to its own maximum."
    if film.target is not None and not film.has_trigger:
        text += " The attack's key is in the text alone and changes no image: its success is among the run's results."
    if any((movie.film.data, movie.film.labels) != (film.data, film.labels) for movie in movies):
        text += " The two films show different images: their rates cannot be compared."
    return text if has_common_axes(movies) else text + " The two maps have separate axes."


def render_film_html(movies: Sequence[Movie]) -> str:
    """Return one HTML page that plays the films; a content security policy forbids every request."""
    from jinja2 import Environment
    from markupsafe import Markup

    # No "<" in the data: it could end the script.
    data = json.dumps(make_player_data(movies)).replace("<", "\\u003c")
    template = Environment(autoescape=True).from_string((_FOLDER / "film.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        title=" and ".join(movie.label for movie in movies),
        note=describe_film(movies),
        css=Markup(read_style(STYLE)),
        script=Markup(read_script(SCRIPT)),
        data=Markup(data),
    )


def write_film_html(movies: Sequence[Movie], path: Path) -> Path:
    """Write `render_film_html` to a file, atomically."""
    write_text(path, render_film_html(movies))
    return path
