"""The file browser: lists what fits, stays in the allowed folders, and never changes what is typed."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from cleaner.types import CleanerError
from pages._shared.runs import sources
from pages._shared.shell import path_field


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("data/b", "data/.hidden", "outside"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("data/Pairs.CSV", "data/notes.txt", "data/.secret.csv", "outside/other.csv"):
        (tmp_path / name).touch()
    return tmp_path / "data"


def test_it_lists_folders_and_fitting_files(folder: Path) -> None:
    folders, files = path_field.list_folder(folder, (".csv",))
    assert [path.name for path in folders] == ["b"]
    assert [path.name for path in files] == ["Pairs.CSV"]
    with pytest.raises(CleanerError, match="cannot be read"):
        path_field.list_folder(folder / "missing", (".csv",))


def test_it_starts_at_the_path_in_the_field(folder: Path) -> None:
    assert path_field.find_start(str(folder / "Pairs.CSV")) == folder
    assert path_field.find_start(str(folder)) == folder
    assert path_field.find_start("no/such/path") == Path.home()


def test_it_stays_in_the_allowed_folders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.symlink(folder.parent / "outside", folder / "link")
    monkeypatch.setenv("CLEANER_DATA_ROOTS", str(folder))
    assert path_field.find_start(str(folder.parent / "outside" / "other.csv")) == folder
    assert [path.name for path in path_field.list_folder(folder, (".csv",))[0]] == ["b"]  # not the link
    assert not path_field.is_allowed(folder.parent)
    with pytest.raises(CleanerError, match="outside"):
        path_field.list_folder(folder.parent / "outside", (".csv",))


def draw_field() -> None:
    from pages._shared.shell import path_field

    path_field.show("field", "Path", (".csv",), placeholder="", help="")


def open_browser(text: str) -> AppTest:
    app = AppTest.from_function(draw_field)
    app.session_state["field"], app.session_state["field.browse"] = text, True
    return app.run()


def entries(app: AppTest) -> list[str]:
    assert not app.exception, [e.message for e in app.exception]
    return [button.label for button in app.button if ".entry." in str(button.key)]


def test_a_typed_path_moves_the_browser(folder: Path) -> None:
    app = open_browser(str(folder))
    assert entries(app) == ["b", r"Pairs\.CSV"]
    app.button(key="field.up").click().run()
    assert entries(app) == ["data", "outside"]
    app.text_input(key="field").set_value(str(folder.parent / "outside")).run()
    assert entries(app) == [r"other\.csv"]


def test_the_drives_of_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drives = [tmp_path / "C", tmp_path / "D"]
    found = [SimpleNamespace(mountpoint=str(drive)) for drive in drives]
    monkeypatch.setattr(path_field.psutil, "disk_partitions", lambda all: found)
    assert path_field.list_drives("linux") == []
    assert path_field.list_drives("win32") == drives
    monkeypatch.setenv("CLEANER_DATA_ROOTS", str(drives[1]))
    assert path_field.list_drives("win32") == drives[1:]


def test_the_top_of_a_drive_leads_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    top = Path("/").absolute()
    monkeypatch.setattr(path_field, "list_drives", lambda: [top, Path("/media/D")])
    app = open_browser(str(top))
    assert entries(app)[0] == "D"
    assert app.button(key="field.up").disabled


def test_quotes_around_a_path_and_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    for text, path in (
        ('"C:\\my data\\pairs.csv" ', "C:\\my data\\pairs.csv"),
        ("'/data/pairs.csv'", "/data/pairs.csv"),
        ("~/Pairs.CSV", f"{folder}/Pairs.CSV"),
        ('"~/Pairs.CSV"', f"{folder}/Pairs.CSV"),
        ('"my pairs.csv" root="my images"', '"my pairs.csv" root="my images"'),
        ('"', '"'),
        ("", ""),
    ):
        assert path_field.clean_path(text) == path
    assert path_field.find_start('"~/Pairs.CSV"') == folder
    assert entries(open_browser("~")) == ["b", r"Pairs\.CSV"]


def test_path_and_classes_become_one_line(folder: Path) -> None:
    (folder / "my pairs.csv").touch()
    path = str(folder / "my pairs.csv")
    assert sources.join_data(path, "") == path
    assert sources.join_data(path, " cat, dog ,") == f"'{path}' classes=cat,dog"
    assert sources.join_data("pairs.parquet image_column=png", "cat") == "pairs.parquet image_column=png classes=cat"
    assert sources.join_data("", "cat") == ""
