"""The film as values for its player, as an HTML file and as an animation."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cleaner.__main__ import main
from cleaner.reports import film, film_animation
from cleaner.reports.film import Movie
from cleaner.reports.film_animation import ANIMATION_FORMATS, IMAGES, WIDTH, _Panel, render_animation
from cleaner.runs.store import read_record
from cleaner.types import CleanerError
from tests.films import save_runs, train_runs
from tests.pages.runs import make_runs
from tests.plots.test_styles import contrast

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return save_runs(tmp_path_factory.mktemp("films") / "runs")


@pytest.fixture
def movies(folders: list[Path]) -> list[Movie]:
    return film.load_movies([read_record(folder) for folder in folders[1:]])


def test_the_player_gets_the_rates_and_the_log_of_the_run(folders: list[Path]) -> None:
    (movie,) = film.load_movies([read_record(folders[0])])
    shown = film.make_player_data([movie])["films"][0]
    run = train_runs()["attack"]
    assert run.film is not None
    assert (shown["ca"], shown["asr"]) == (run.film.accuracy(), run.film.attack_success())
    classes = run.film.clean_classes.tolist(), run.film.triggered_classes.tolist()
    assert (shown["clean_classes"], shown["triggered_classes"]) == classes
    assert shown["log"]["asr"] == [(r.step, r.metrics["asr"]) for r in run.history if r.metrics]
    logged = dict(shown["log"]["asr"])
    common = [(value, logged[step]) for step, value in zip(shown["steps"], shown["asr"], strict=True) if step in logged]
    assert len(common) >= 2
    assert all(value == pytest.approx(other) for value, other in common)
    points = np.frombuffer(base64.b64decode(shown["points"]), "<i2") / 32767
    points = points.reshape(len(shown["steps"]), sum(shown["counts"]), 2)
    left, bottom, right, top = shown["bounds"]
    assert points[..., 0].min() >= left
    assert points[..., 1].max() <= top
    assert right - left > 0
    assert bottom < top
    assert movie.label == "Poisoning: BadNet patch"


def test_two_defenses_share_clock_axes_and_frame(movies: list[Movie]) -> None:
    shown = film.make_player_data(movies)["films"]
    assert film.has_common_axes(movies)
    assert not any("backdoored run" in film.describe_film([movie]) for movie in movies), "it may have had no film"
    assert shown[0]["bounds"] == shown[1]["bounds"]
    assert len({each["color"] for each in shown}) == 2
    assert "separate axes" not in film.describe_film(movies)
    other = movies[1].film
    turned = replace(other, axes=replace(other.axes, directions=other.axes.directions[::-1]))
    assert "separate axes" in film.describe_film([movies[0], movies[1]._replace(film=turned)])


def test_the_page_does_not_name_the_folder_of_the_data(movies: list[Movie]) -> None:
    own = replace(movies[0].film, data="csv:/home/me/pairs.csv/test")
    text = film.render_film_html([movies[0]._replace(film=own)])
    assert "/home" not in text
    assert "csv:pairs.csv/test" in text


def test_two_films_of_one_kind_have_different_labels(folders: list[Path]) -> None:
    record = read_record(folders[1])

    def labels(**changes: object) -> list[str]:
        other = record.model_copy(update=changes)
        return [movie.label for movie in film.load_movies([record, other])]

    lr, seed = record.finetune.lr, record.finetune.seed
    faster, reseeded = (record.finetune.model_copy(update=u) for u in ({"lr": 2 * lr}, {"seed": seed + 1}))
    assert labels(finetune=faster) == [f"Plain finetuning, lr {lr:g}", f"Plain finetuning, lr {2 * lr:g}"]
    assert labels(finetune=reseeded) == [f"Plain finetuning, seed {seed}", f"Plain finetuning, seed {seed + 1}"]
    assert len(set(labels(folder=shutil.copytree(folders[1], folders[1].with_name("copy"))))) == 2


def test_html_is_escaped_and_asks_for_nothing(movies: list[Movie]) -> None:
    evil = "</script><script>alert(1)</script>"
    named = replace(movies[0].film, class_names=[evil, *movies[0].film.class_names[1:]])
    text = film.render_film_html([Movie(evil, named, movies[0].log), movies[1]])
    assert text.count("<script") == text.count("</script>") == 1
    assert "default-src 'none'" in text
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}  # of XML, no addresses
    assert set(re.findall(r"https?://[^\"'; ]+", text)) <= names
    (data,) = re.findall(r"\(\{ data: (.*), parentElement", text)
    assert json.loads(data)["films"][0]["classes"][0] == evil


def test_html_has_readable_colors_the_same_as_the_app() -> None:
    """Else `film.css` falls back on the colors of charts, which are too pale for letters."""
    theme = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["theme"]
    template = (ROOT / "cleaner" / "reports" / "film.html.jinja").read_text(encoding="utf-8")
    for name, block in zip(("light", "dark"), re.findall(r":root \{(.*?)\}", template, re.DOTALL), strict=True):
        colors = dict(re.findall(r"--st-(blue|red|green|primary)-color: (#\w+)", block))
        assert colors == {key: theme[name][f"{key}Color"].lower() for key in ("primary", "blue", "red", "green")}
        for key in ("blue", "red", "green"):
            assert contrast(colors[key], theme[name]["backgroundColor"]) >= 4.5


@pytest.mark.parametrize("kind", ANIMATION_FORMATS)
@pytest.mark.parametrize("count", [1, 2])
def test_the_animation_moves_and_is_small(movies: list[Movie], kind: str, count: int) -> None:
    content = render_animation(movies[:count], kind)
    assert len(content) < 3e6
    picture = Image.open(io.BytesIO(content))
    assert picture.format == kind.upper()
    assert picture.n_frames == IMAGES
    first = np.asarray(picture.convert("RGB"), float)
    picture.seek(picture.n_frames - 1)
    assert np.abs(np.asarray(picture.convert("RGB"), float) - first).mean() > 0.1


def keep_frames(movie: Movie, kept: list[int]) -> Movie:
    """Return the film of a training that was too slow for all frames."""
    names = ("points", "clean_classes", "triggered_classes", "gallery_classes", "gallery_scores", "attention")
    arrays = {name: getattr(movie.film, name)[kept] for name in names}
    return movie._replace(film=replace(movie.film, steps=[movie.film.steps[i] for i in kept], **arrays))


def test_the_animation_of_a_slow_training_shows_every_frame(
    movies: list[Movie], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, find = set(), _Panel._find_frame

    def listen(panel: _Panel, time: float) -> tuple[int, float]:
        shown.add(find(panel, time)[0])
        return find(panel, time)

    monkeypatch.setattr(_Panel, "_find_frame", listen)
    movie = keep_frames(movies[0], [0, 1, 2, -1])
    content = render_animation([movie._replace(film=replace(movie.film, total=movie.film.steps[-1]))])
    assert shown == {0, 1, 2, 3}
    assert Image.open(io.BytesIO(content)).n_frames == IMAGES


def test_the_note_tells_the_frames_of_both_films(movies: list[Movie]) -> None:
    first = movies[0]  # on a busy machine the other one may have fewer frames
    count = len(first.film.steps)
    assert f" at {count} steps" in film.describe_film([first, first])
    assert f" at {count} and 4 steps" in film.describe_film([first, keep_frames(first, [0, 1, 2, -1])])


def test_the_note_mentions_attention_where_there_is_some(movies: list[Movie]) -> None:
    assert "Attention:" in film.describe_film(movies)
    bare = replace(movies[0].film, attention=movies[0].film.attention[:, :0])
    assert "Attention:" not in film.describe_film([movies[0]._replace(film=bare)])


def test_the_note_and_the_map_tell_true_and_other_classes_apart(
    movies: list[Movie], monkeypatch: pytest.MonkeyPatch
) -> None:
    (movie, _), drawn = movies, []
    monkeypatch.setattr(film_animation, "_draw_diamond", lambda *_, is_filled: drawn.append((_[2], is_filled)))
    box, panel = (0, 0, 100, 100), _Panel(movie, film.find_bounds([movie.film]), 0, WIDTH)
    classes, labels = movie.film.triggered_classes, np.array(movie.film.labels)
    is_true, is_other = (check & (classes != movie.film.target) for check in (classes == labels, classes != labels))
    frame = int(is_other.sum(axis=1).argmax())
    panel._draw_map(ImageDraw.Draw(Image.new("RGB", (100, 100))), box, frame, 0.0)
    seen = Counter(drawn)
    assert seen[film_animation.GRAY, False] == is_other[frame].sum() > 0
    assert seen[film_animation.TRUTH, False] == is_true[frame].sum()
    assert "▲" in film.describe_film([movie])
    clean = replace(movie.film, target=None)
    assert "▲" not in film.describe_film([movie._replace(film=clean)])


def test_the_header_has_the_figures_above_their_names(folders: list[Path]) -> None:
    (movie,) = film.load_movies([read_record(folders[0])])
    drawn: list[str] = []

    class Recorder:
        def text(self, place: object, text: str, *_: object, **__: object) -> None:
            drawn.append(text)

    _Panel(movie, film.find_bounds([movie.film]), 0, WIDTH)._draw_header(Recorder(), -1)
    for name, values in (("clean accuracy", movie.film.accuracy()), ("attack success", movie.film.attack_success())):
        assert drawn[drawn.index(name) - 1] == f"{values[-1]:.0%}"


def test_the_animation_explains_the_marks_it_can_show(movies: list[Movie], monkeypatch: pytest.MonkeyPatch) -> None:
    image, drawn = Image.new("RGB", (400, 400)), []
    draw = ImageDraw.Draw(image)
    monkeypatch.setattr(draw, "text", lambda _, text, *__, **___: drawn.append(text))
    for target, marks in ((movies[0].film.target, {"!", "?"}), (None, {"?"})):
        panel = _Panel(movies[0]._replace(film=replace(movies[0].film, target=target)), (0, 0, 1, 1), 0, WIDTH)
        panel._draw_wall(image, draw, (0, 0, 400, 400), columns=6, frame=0)
        assert marks == {"!", "?"} & set(drawn[-1].split())


def test_a_long_label_ends_before_the_figures(movies: list[Movie]) -> None:
    content = render_animation([movie._replace(label="W" * 80) for movie in movies], "gif")
    header = np.asarray(Image.open(io.BytesIO(content)).convert("L"))[8:28]
    assert header[:, 10:250].min() < 100
    assert header[:, 260:272].min() > 250  # left of the first figure


def test_runs_without_a_film_and_other_files_are_refused(
    movies: list[Movie], folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare, _ = make_runs(tmp_path)
    with pytest.raises(CleanerError, match="has no film"):
        film.load_movies([read_record(bare)])
    with pytest.raises(CleanerError, match="one or two"):
        film.load_movies([read_record(folder) for folder in folders])
    with pytest.raises(CleanerError, match=r"\.mp4"):
        render_animation(movies, "mp4")
    with pytest.raises(CleanerError, match="not without such an ending"):
        render_animation(movies, "")
    assert main(["film", str(folders[0]), "--out", str(tmp_path / "film.mp4")]) == 2
    assert not (tmp_path / "film.mp4").exists()
    for suffix in ("html", "gif"):
        assert main(["film", *map(str, folders[:2]), "--out", str(tmp_path / f"film.{suffix}")]) == 0
        assert (tmp_path / f"film.{suffix}").stat().st_size > 10_000
    capsys.readouterr()
