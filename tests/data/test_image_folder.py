"""Class folders: classes, splits and hidden files."""

from __future__ import annotations

import tarfile
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from cleaner import load_data
from cleaner.data import image_folder
from cleaner.types import CleanerError
from tests.data.files import NAMES, image_bytes, write_class_folder, write_table


def test_given_classes_match_folder_names_in_any_spelling(tmp_path: Path) -> None:
    write_class_folder(tmp_path)
    for name, spelling in zip(NAMES, ("Red", "GREEN", "blue_sky"), strict=True):
        (tmp_path / name).rename(tmp_path / spelling)
    data: Any = load_data(str(tmp_path), split="all", classes="red,green,blue sky")
    assert data.class_names == ["red", "green", "blue sky"]
    for row, label in zip(data.rows, data.labels.tolist(), strict=True):
        assert int(Path(data.table.keys[row]).stem) % 3 == label


@pytest.mark.parametrize("typed", ["NFC", "NFD"])
@pytest.mark.parametrize("kind", ["folder", "csv"])
def test_names_match_in_every_form_of_unicode(kind: str, typed: Any, tmp_path: Path) -> None:
    """A Mac decomposes the names of folders: é is e and an accent."""
    names = ["zèbre", "âne"]
    decomposed = [unicodedata.normalize("NFD", name) for name in names]
    lines = ["filepath,title"]
    for number, name in enumerate(decomposed):
        (tmp_path / "root" / name).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "root" / name / f"{number}{i}.png").write_bytes(image_bytes(i))
            lines.append(f"root/{name}/{number}{i}.png,un {name}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines), encoding="utf-8")
    path = tmp_path / ("root" if kind == "folder" else "pairs.csv")
    data: Any = load_data(
        str(path), split="all", classes=",".join(unicodedata.normalize(typed, name) for name in names)
    )
    assert data.class_names == names
    assert data.labels.tolist() == [int(Path(data.table.keys[row]).stem[0]) for row in data.rows]
    for name in ("âne", decomposed[1]):
        assert data.mentions(name).equal(data.labels == 1)
        assert data.contains(name).equal(data.labels == 1)
        if kind == "folder":
            assert load_data(str(path), split="all").class_index(name) == 1


def test_a_disk_with_few_images_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_class_folder(tmp_path, 3)
    for number in range(40):
        (tmp_path / NAMES[0] / f"{number}.txt").touch()
    assert len(load_data(str(tmp_path), split="all")) == 3
    monkeypatch.setattr(image_folder, "MAX_OTHER_FILES", 30)
    with pytest.raises(CleanerError, match="give the folder of the images"):
        load_data(str(tmp_path))
    write_class_folder(tmp_path, 30)
    assert len(load_data(str(tmp_path), split="all")) == 30, "many images may have even more notes"


def test_folders_with_names_of_splits_are_splits(tmp_path: Path) -> None:
    write_class_folder(tmp_path / "train", 30)
    write_class_folder(tmp_path / "val", 12)
    assert len(load_data(str(tmp_path), split="validation")) == 12
    sizes = [len(load_data(str(tmp_path), split=split)) for split in ("train", "test")]
    assert sum(sizes) == 30


@pytest.mark.parametrize(
    ("train", "held_out", "split"),
    [
        ("training_set", "test_set", "test"),
        ("seg_train/seg_train", "seg_test/seg_test", "test"),
        ("train2017", "val2017", "validation"),
    ],
)
def test_names_that_contain_those_of_splits_are_splits(train: str, held_out: str, split: str, tmp_path: Path) -> None:
    """The layouts of Kaggle's cats and dogs, of the Intel scenes, and of COCO."""
    write_class_folder(tmp_path / train, 30)
    write_class_folder(tmp_path / held_out, 12)
    (tmp_path / "seg_pred").mkdir()
    (tmp_path / "seg_pred" / "0.png").write_bytes(image_bytes(0))
    data = load_data(str(tmp_path), split=split)
    assert (len(data), data.class_names) == (12, sorted(NAMES))
    assert data.skipped_items == ["seg_pred: 1 without a class"]


def test_a_longer_name_is_no_split_next_to_the_word_alone(tmp_path: Path) -> None:
    """As in iNaturalist, whose train_mini has copies of some images of train."""
    for name, count in (("train", 30), ("train_mini", 6), ("val", 12), ("test_set", 9)):
        write_class_folder(tmp_path / name, count)
    sizes = [len(load_data(str(tmp_path), split=split)) for split in ("train", "validation", "test")]
    assert sizes == [30, 12, 9]
    skipped = load_data(str(tmp_path)).skipped_items
    assert skipped == [f"train_mini/{name}: 2 without a class" for name in sorted(NAMES)]


def test_splits_without_classes_have_no_pairs(tmp_path: Path) -> None:
    for name in ("train2017", "val2017"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(image_bytes(0))
    with pytest.raises(CleanerError, match="no pairs"):
        load_data(str(tmp_path))


def test_classes_may_be_named_after_trains_and_tests(tmp_path: Path) -> None:
    write_class_folder(tmp_path, 12)
    names = ["dog", "test_tube", "train_station"]
    for old, new in zip(sorted(NAMES), names, strict=True):
        (tmp_path / old).rename(tmp_path / new)
    assert load_data(str(tmp_path), split="all").class_names == ["dog", "test tube", "train station"]
    (tmp_path / "test_tube").rename(tmp_path / "pen")
    for name in ("dog", "pen", "train_station"):  # folders in the class folders: it is no split without another
        (tmp_path / name / "good").mkdir()
        for file in (tmp_path / name).glob("*.png"):
            file.rename(tmp_path / name / "good" / file.name)
    assert load_data(str(tmp_path), split="all").class_names == ["dog", "pen", "train station"]


def test_hidden_files_and_folders_are_ignored(tmp_path: Path) -> None:
    write_class_folder(tmp_path / "root", 12)
    (tmp_path / "root" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "root" / ".ipynb_checkpoints" / "0.png").write_bytes(image_bytes(0))
    (tmp_path / "root" / "red" / "._0.png").write_bytes(b"\0\5\x16\7")
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        for name in ("red", "blue"):
            file.add(tmp_path / "root" / name, name)
    for source, count in (("root", 12), ("x.tar", 8)):
        data = load_data(str(tmp_path / source), split="all", most_broken=0)
        assert (len(data), data.class_names) == (count, sorted(NAMES) if count == 12 else ["blue", "red"])


def test_one_folder_of_images_is_no_class(tmp_path: Path) -> None:
    """As in Flickr8k: every caption would be "a photo of an Images"."""
    root = tmp_path / "flickr"
    (root / "Images").mkdir(parents=True)
    for i in range(12):
        (root / "Images" / f"{i}.png").write_bytes(image_bytes(i))
    (root / "captions.txt").write_text("image,caption\n" + "".join(f"{i}.png,a wall\n" for i in range(12)))
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        file.add(root, "flickr")
    for source in ("flickr", "x.tar"):
        with pytest.raises(CleanerError, match=r"one class, 'Images'.*csv:FILE root=FOLDER"):
            load_data(str(tmp_path / source), split="all")
    assert len(load_data(f"csv:{root}/captions.txt", root=str(root / "Images"), split="all")) == 12


def test_a_class_may_be_named_train(tmp_path: Path) -> None:
    write_class_folder(tmp_path, 12)
    (tmp_path / "red").rename(tmp_path / "train")
    assert load_data(str(tmp_path), split="all").class_names == ["blue", "green", "train"]
    for name in ("blue", "green"):
        (tmp_path / name).rename(tmp_path.parent / name)
    with pytest.raises(CleanerError, match="no pairs"):
        load_data(str(tmp_path))  # images without classes


def test_two_folders_with_one_class_name_are_one_class(tmp_path: Path) -> None:
    write_class_folder(tmp_path, 12)
    (tmp_path / "red").rename(tmp_path / "sea_lion")
    (tmp_path / "green").rename(tmp_path / "sea lion")
    data = load_data(str(tmp_path), split="all")
    assert (data.class_names, data.labels.bincount().tolist()) == (["blue", "sea lion"], [4, 8])


def test_a_folder_that_holds_a_table_hints_at_it(tmp_path: Path) -> None:
    write_table(tmp_path)
    (tmp_path / "pairs.csv").rename(tmp_path / "labels.csv")
    for pics in ("pics", ".pics"):
        (tmp_path / "pics").rename(tmp_path / pics)
        with pytest.raises(CleanerError, match=r"labels\.csv"):
            load_data(str(tmp_path))


def test_captions_of_classes_have_the_article_that_is_spoken(tmp_path: Path) -> None:
    classes = {"American robin": "an", "hourglass": "an", "unicycle": "a", "tench": "a"}
    for name in classes:
        (tmp_path / name).mkdir()
        for i in range(8):
            (tmp_path / name / f"{name} {i}.png").write_bytes(image_bytes(i))
    data = load_data(str(tmp_path), split="all")
    for caption, label in zip(data.captions, data.labels.tolist(), strict=True):
        name = data.class_names[label]
        assert caption.endswith(f"{classes[name]} {name}")


def test_folders_around_the_class_folders_do_not_count(tmp_path: Path) -> None:
    write_class_folder(tmp_path / "Data" / "CLS-LOC" / "train", 30)
    write_class_folder(tmp_path / "Data" / "CLS-LOC" / "valid", 12)
    (tmp_path / "Data" / "preview.png").write_bytes(image_bytes(0))
    data = load_data(str(tmp_path), split="all")
    assert (len(data), data.class_names) == (42, sorted(NAMES))
    assert data.skipped_items == ["Data: 1 without a class"]
    assert len(load_data(str(tmp_path), split="validation")) == 12


def test_what_is_in_no_split_is_named(tmp_path: Path) -> None:
    """ImageNet as it is unpacked: train has a folder per class, val has none; and a folder that is no split."""
    write_class_folder(tmp_path / "train", 30)
    write_class_folder(tmp_path / "extra", 3)
    (tmp_path / "val").mkdir()
    for i in range(6):
        (tmp_path / "val" / f"{i}.png").write_bytes(image_bytes(i))
    for name in ("a.JPG", "b.png", "._b.png", "notes.txt"):
        (tmp_path / name).touch()
    data = load_data(str(tmp_path), split="all")
    assert len(data) == 30
    assert "outside of folders: 2 without a class" in data.skipped_items
    assert "val: 6 without a class" in data.skipped_items
    assert "extra/red: 1 without a class" in data.skipped_items


def test_a_table_beside_class_folders_is_named(tmp_path: Path) -> None:
    write_class_folder(tmp_path, 12)
    (tmp_path / "pairs.csv").write_text("filepath,title\nred/0.png,a red wall\n")
    assert load_data(str(tmp_path), split="all").skipped_items == [
        "pairs.csv is not read: for its captions give it as the data"
    ]
