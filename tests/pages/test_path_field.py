"""The file browser: lists what fits, stays in the allowed folders, and never changes what is typed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cleaner.types import CleanerError
from pages._shared import path_field, sources


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


def test_path_and_classes_become_one_line(folder: Path) -> None:
    (folder / "my pairs.csv").touch()
    path = str(folder / "my pairs.csv")
    assert sources.join_data(path, "") == path
    assert sources.join_data(path, " cat, dog ,") == f"'{path}' classes=cat,dog"
    assert sources.join_data("pairs.parquet image_column=png", "cat") == "pairs.parquet image_column=png classes=cat"
    assert sources.join_data("", "cat") == ""
