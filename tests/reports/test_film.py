"""The film as values for its player, and as an HTML file."""

from __future__ import annotations

import base64
import json
import re
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cleaner.__main__ import main
from cleaner.reports import film
from cleaner.reports.film import Movie
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
    """Those of charts are too pale for letters."""
    theme = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["theme"]
    style = (ROOT / "cleaner" / "plots" / "component.css").read_text(encoding="utf-8")
    for name, block in zip(("light", "dark"), re.findall(r":root \{(.*?)\}", style, re.DOTALL), strict=True):
        colors = dict(re.findall(r"--st-(blue|red|green|primary)-color: (#\w+)", block))
        assert colors == {key: theme[name][f"{key}Color"].lower() for key in ("primary", "blue", "red", "green")}
        for key in ("blue", "red", "green"):
            assert contrast(colors[key], theme[name]["backgroundColor"]) >= 4.5


def test_runs_without_a_film_and_other_files_are_refused(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare, _ = make_runs(tmp_path)
    with pytest.raises(CleanerError, match="has no film"):
        film.load_movies([read_record(bare)])
    with pytest.raises(CleanerError, match="one or two"):
        film.load_movies([read_record(folder) for folder in folders])
    for name, remedy in (("film.gif", "film.html"), ("film", "film.html")):
        assert main(["film", str(folders[0]), "--out", str(tmp_path / name)]) == 2
        assert f"write {tmp_path / remedy}." in capsys.readouterr().err
        assert not (tmp_path / name).exists()
    assert main(["film", *map(str, folders[:2]), "--out", str(tmp_path / "film.html")]) == 0
    assert (tmp_path / "film.html").stat().st_size > 10_000
