"""The Film page: it plays what was recorded, and says so where nothing was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cleaner.reports.film import Movie, load_movies, make_player_data
from cleaner.runs import film
from cleaner.runs.film import FILM_FILE, write_film
from cleaner.runs.store import read_record
from pages._shared.inspect import film_player
from tests.inputs.runs import make_film
from tests.pages.conftest import OpenPage, page_text
from tests.pages.runs import make_runs


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Labels of the films that the player got, for each time it was drawn."""
    drawn: list[list[str]] = []

    def listen(movies: Sequence[Movie], key: str = "") -> dict[str, Any]:
        drawn.append([movie.label for movie in movies])
        return make_player_data(movies, key)

    monkeypatch.setattr(film_player, "make_player_data", listen)
    return drawn


def save_films(tmp_path: Path) -> tuple[Path, Path]:
    """Write a backdoored run and a defense, each with a film of its own; return their folders."""
    folders = make_runs(tmp_path)
    for folder, total in zip(folders, (4, 8), strict=True):
        write_film(replace(make_film(), total=total), folder)
    return folders


def test_it_plays_a_defense_or_two_side_by_side(open_page: OpenPage, tmp_path: Path, shown: list[list[str]]) -> None:
    attack, defense = save_films(tmp_path)
    app = open_page("Film")
    assert shown[-1] == ["TA-Cleaner"]
    (box,) = app.multiselect
    box.set_value([defense.name, attack.name]).run()
    assert not app.exception
    assert shown[-1] == ["TA-Cleaner", "Poisoning: BadNet patch"]
    assert any(text.value.startswith("## About this film") for text in app.markdown)
    box.set_value([]).run()
    assert len(shown[-1]) == 1  # never an empty page


def test_runs_without_a_film_say_so(open_page: OpenPage, tmp_path: Path) -> None:
    assert "records a film" in page_text(open_page("Film"))
    make_runs(tmp_path)
    app = open_page("Film")
    assert "without a film" in page_text(app)
    assert not app.exception


def test_a_broken_film_is_an_error_message(open_page: OpenPage, tmp_path: Path) -> None:
    first, _ = make_runs(tmp_path)
    (first / FILM_FILE).write_bytes(b"broken")
    app = open_page("Film")
    assert any("has no film" in error.value for error in app.error)


def test_a_film_that_is_read_again_is_the_same_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would start again whenever other sessions have seen many films in between."""
    keys: list[str] = []
    monkeypatch.setattr(film_player, "_component", lambda key, data: keys.append(data["key"]))
    folders = save_films(tmp_path)
    for folder in (folders[0], folders[0], folders[1]):
        film._read_version.cache_clear()
        film_player.show(load_movies([read_record(folder)]), "player")
    assert keys[0] == keys[1] != keys[2]
