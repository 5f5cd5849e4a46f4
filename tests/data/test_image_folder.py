"""Class folders: which folders are classes, which are splits, what is hidden."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

from cleaner import load_data
from cleaner.types import CleanerError
from tests.data.files import NAMES, image_bytes, write_class_folder


def test_given_classes_are_the_folders_of_that_name_however_written(tmp_path: Path) -> None:
    write_class_folder(tmp_path)
    for name, other in zip(NAMES, ("Red", "GREEN", "blue_sky"), strict=True):
        (tmp_path / name).rename(tmp_path / other)
    data: Any = load_data(str(tmp_path), split="all", classes="red,green,blue sky")
    assert data.class_names == ["red", "green", "blue sky"]
    for row, label in zip(data.rows, data.labels.tolist(), strict=True):
        assert int(Path(data.table.keys[row]).stem) % 3 == label


def test_folders_named_as_splits_are_the_splits(tmp_path: Path) -> None:
    write_class_folder(tmp_path / "train", 30)
    write_class_folder(tmp_path / "val", 12)
    assert len(load_data(str(tmp_path), split="validation")) == 12
    parts = [len(load_data(str(tmp_path), split=split)) for split in ("train", "test")]
    assert sum(parts) == 30


def test_hidden_files_and_folders_are_no_pictures_and_classes(tmp_path: Path) -> None:
    write_class_folder(tmp_path / "root", 12)
    (tmp_path / "root" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "root" / ".ipynb_checkpoints" / "0.png").write_bytes(image_bytes(0))
    (tmp_path / "root" / "red" / "._0.png").write_bytes(b"\0\5\x16\7")
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        file.add(tmp_path / "root" / "red", "red")
    for source, count in (("root", 12), ("x.tar", 4)):
        data = load_data(str(tmp_path / source), split="all", most_broken=0)
        assert (len(data), data.class_names) == (count, sorted(NAMES) if count == 12 else ["red"])


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_class_folder(tmp_path, 12)
    (tmp_path / "red").rename(tmp_path / "train")
    assert load_data(str(tmp_path), split="all").class_names == ["blue", "green", "train"]
    for name in ("blue", "green"):
        (tmp_path / name).rename(tmp_path.parent / name)
    with pytest.raises(CleanerError, match="holds no pairs"):
        load_data(str(tmp_path))  # pictures without classes


def test_two_folders_that_are_one_class_in_words(tmp_path: Path) -> None:
    write_class_folder(tmp_path, 12)
    (tmp_path / "red").rename(tmp_path / "sea_lion")
    (tmp_path / "green").rename(tmp_path / "sea lion")
    data = load_data(str(tmp_path), split="all")
    assert (data.class_names, data.labels.bincount().tolist()) == (["blue", "sea lion"], [4, 8])
