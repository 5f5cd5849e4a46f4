"""Data from files: tables, folders, shards, zips, torchvision's sets; broken pictures; memory; framing."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cleaner import load_data
from cleaner.attacks import TRIGGERS
from cleaner.data import archive, pairs
from cleaner.data.base import DATASETS, CaptionData, TensorData
from cleaner.data.pairs import FileData
from cleaner.data.poison import PoisonedData
from cleaner.framing import Framing
from cleaner.types import CleanerError

COLOURS = {"red": (250, 10, 10), "green": (10, 200, 10), "blue": (10, 10, 250)}
NAMES = list(COLOURS)


def picture(number: int, size: tuple[int, int] = (40, 30), form: str = "PNG") -> bytes:
    """A picture of one colour, with its number in the first pixel."""
    pixels = Image.new("RGB", size, COLOURS[NAMES[number % 3]])
    file = io.BytesIO()
    pixels.save(file, form)
    return file.getvalue()


def caption(number: int) -> str:
    return f"a photo of a {NAMES[number % 3]} wall, number {number}"


def table(folder: Path, count: int = 60, sep: str = ",", head: tuple[str, ...] = ("filepath", "title")) -> Path:
    (folder / "pics").mkdir()
    lines = [sep.join(head)]
    for i in range(count):
        (folder / "pics" / f"{i}.png").write_bytes(picture(i))
        lines.append(sep.join([f"pics/{i}.png", f'"{caption(i)}"']))
    (folder / "pairs.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "pairs.csv"


def class_folder(root: Path, count: int = 60) -> None:
    for i in range(count):
        folder = root / NAMES[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(picture(i))


def shards(folder: Path, count: int = 60) -> str:
    for shard in range(2):
        with tarfile.open(folder / f"{shard:04d}.tar", "w") as file:
            for i in range(shard, count, 2):
                text = caption(i).encode()
                about = json.dumps({"caption": caption(i), "class": NAMES[i % 3]}).encode()
                parts = [(".png", picture(i)), (".txt", text) if shard == 0 else (".json", about), (".pyd", b"x = 1")]
                for suffix, content in parts:
                    info = tarfile.TarInfo(f"{i:06d}{suffix}")
                    info.size = len(content)
                    file.addfile(info, io.BytesIO(content))
    return str(folder / "{0000..0001}.tar")


def zipped(path: Path, count: int = 60) -> str:
    with zipfile.ZipFile(path, "w") as file:
        rows = [f"{i}.png,{caption(i)!r}".replace("'", '"') for i in range(count)]
        file.writestr("set/pairs.csv", "\n".join(["filepath,title", *rows]))
        for i in range(count):
            file.writestr(f"set/{i}.png", picture(i))
    return str(path)


def made(kind: str, folder: Path) -> str:
    if kind == "csv":
        return str(table(folder))
    if kind == "image_folder":
        class_folder(folder / "root")
        return str(folder / "root")
    return shards(folder) if kind == "shards" else zipped(folder / "x.zip")


KINDS = ["csv", "image_folder", "shards", "archive"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_gives_the_right_pictures_with_their_captions(kind: str, tmp_path: Path) -> None:
    path = made(kind, tmp_path)
    data = load_data(f"{kind}:{path}", classes="red,green,blue")
    pictures = data.images(range(len(data)))
    assert pictures.shape == (len(data), 3, 224, 224)
    assert (pictures.dtype, data.class_names) == (torch.float32, NAMES)
    assert (data.labels >= 0).all()
    for i, text in enumerate(data.captions):
        name = data.class_names[int(data.labels[i])]
        assert f" {name}" in text
        assert torch.allclose(pictures[i, :, 100, 100] * 255, torch.tensor(COLOURS[name]).float(), atol=3)
    if "{" not in path:
        assert load_data(path, classes="red,green,blue").captions == data.captions
    assert load_data(f"{kind}:{path}", seed=1).captions != data.captions


@pytest.mark.parametrize("kind", KINDS)
def test_splits_are_disjoint_whole_and_repeatable(kind: str, tmp_path: Path) -> None:
    name = f"{kind}:{made(kind, tmp_path)}"
    parts = {split: load_data(name, split=split) for split in ("train", "validation", "test")}
    keys = [part.table.keys[row] for part in parts.values() for row in part.rows]  # type: ignore[attr-defined]
    assert len(keys) == len(set(keys)) == 60
    assert len(parts["test"]) > len(parts["validation"])
    held = parts["train"].heldout("test")
    assert held is not None
    assert held.captions == parts["test"].captions == load_data(name, split="test").captions
    train, clean = (load_data(name, split=split, size=15) for split in ("train", "clean"))
    assert not set(train.rows) & set(clean.rows)  # type: ignore[attr-defined]
    assert train.captions == parts["train"].captions[:15]


def test_all_takes_every_pair_whatever_its_split(tmp_path: Path) -> None:
    for split in ("train", "val"):
        class_folder(tmp_path / split, 9)
    data = load_data(str(tmp_path), split="all")
    assert sorted(data.table.keys[row] for row in data.rows) == sorted(data.table.keys)  # type: ignore[attr-defined]
    assert len(data) == 18
    assert load_data(str(tmp_path), split="all", size=5).captions == data.captions[:5]


def test_files_are_found_by_the_names_data_have_themselves(tmp_path: Path) -> None:
    data = load_data(f"csv:{table(tmp_path, 60, ';', ('Image', 'Caption'))}")
    assert "semicolon" in data.understood and "'Image'" in data.understood  # type: ignore[attr-defined]  # noqa: PT018
    with pytest.raises(CleanerError, match=r"no column 'picture'; its columns are Image, Caption: .*path_column"):
        load_data(str(tmp_path / "pairs.csv"), path_column="picture")
    (tmp_path / "odd.tsv").write_text("a\tb\nx\ty\n")
    with pytest.raises(CleanerError, match=r"no column named like 'filepath'; its columns are a, b"):
        load_data(str(tmp_path / "odd.tsv"))
    (tmp_path / "bytes.csv").write_bytes(b"filepath,title\n\xff\xfe\xfa,x\n")
    with pytest.raises(CleanerError, match="save it as CSV in UTF-8"):
        load_data(str(tmp_path / "bytes.csv"))
    (tmp_path / "net.csv").write_text("filepath,title\nhttp://x/y.jpg,x\n")
    with pytest.raises(CleanerError, match="fetch them first"):
        load_data(str(tmp_path / "net.csv"))


def test_a_class_column_and_a_class_file(tmp_path: Path) -> None:
    path = table(tmp_path)
    lines = path.read_text().splitlines()
    rows = [f"{line},{'warm' if i % 3 == 0 else 'cold'}" for i, line in enumerate(lines[1:])]
    path.write_text("\n".join([lines[0] + ",class", *rows]))
    assert load_data(str(path)).class_names == ["cold", "warm"]
    (tmp_path / "names.txt").write_text("blue\nred\nsea lion, seal\n")
    (tmp_path / "b").mkdir()
    plain = table(tmp_path / "b")
    data = load_data(str(plain), classes=str(tmp_path / "names.txt"))
    assert data.class_names == ["blue", "red", "sea lion, seal"]
    assert set(data.labels.tolist()) == {-1, 0, 1}
    class_folder(tmp_path / "root")
    words = load_data(str(tmp_path / "root"), classes="azure,leafy,rosy")  # in the order of the folders
    assert [words.class_names[int(words.labels[0])]] == [words.captions[0].split()[-1].replace("blue", "azure")
            .replace("green", "leafy").replace("red", "rosy")]  # fmt: skip
    with pytest.raises(CleanerError, match="2 class names were given for 3 classes"):
        load_data(str(tmp_path / "root"), classes="azure,leafy")


def test_given_classes_are_the_folders_of_that_name_however_written(tmp_path: Path) -> None:
    class_folder(tmp_path)
    for name, other in zip(NAMES, ("Red", "GREEN", "blue_sky"), strict=True):
        (tmp_path / name).rename(tmp_path / other)
    data: Any = load_data(str(tmp_path), split="all", classes="red,green,blue sky")
    assert data.class_names == ["red", "green", "blue sky"]
    for row, label in zip(data.rows, data.labels.tolist(), strict=True):
        assert int(Path(data.table.keys[row]).stem) % 3 == label


def test_a_file_of_classes_may_be_marked_as_utf8_and_have_a_comma_in_its_path(tmp_path: Path) -> None:
    (tmp_path / "my, own").mkdir()
    names = tmp_path / "my, own" / "names.txt"
    names.write_text("red\r\ngreen\r\nblue\r\n", encoding="utf-8-sig")
    data = load_data(str(table(tmp_path)), classes=str(names))
    assert data.class_names == NAMES
    assert set(data.labels.tolist()) == {0, 1, 2}


def test_a_class_may_begin_and_end_with_any_sign(tmp_path: Path) -> None:
    path = table(tmp_path, 3)
    texts = ["a page of C++", "a book on Java, or C++?", "Java for everyone"]
    path.write_text("filepath,title\n" + "\n".join(f'pics/{i}.png,"{text}"' for i, text in enumerate(texts)))
    data = load_data(str(path), split="all", classes="C++,Java")
    found = dict(zip(data.captions, data.labels.tolist(), strict=True))
    assert [found[text] for text in texts] == [0, -1, 1]
    assert {text for text, named in zip(data.captions, data.names("C++"), strict=True) if named} == {*texts[:2]}


def test_letters_that_are_one_by_case_only_for_a_pattern(tmp_path: Path) -> None:
    path = table(tmp_path, 3)
    path.write_text("filepath,title\npics/0.png,bir fıl\npics/1.png,bir fil\npics/2.png,a roſe", encoding="utf-8")
    data = load_data(str(path), split="all", classes="fil,rose")
    assert dict(zip(data.captions, data.labels.tolist(), strict=True)) == {"bir fıl": -1, "bir fil": 0, "a roſe": -1}


def test_numbered_classes_get_their_names_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    path = table(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0] + ",label", *(f"{line},{i % 12}" for i, line in enumerate(lines[1:]))]))
    class_folder(tmp_path / "root")
    for name, number in zip(NAMES, (10, 9, 2), strict=True):
        (tmp_path / "root" / name).rename(tmp_path / "root" / str(number))
    numbers: Any = load_data(str(path), classes="a,b,c,d,e,f,g,h,i,j,k,l")
    for row, label in zip(numbers.rows, numbers.labels.tolist(), strict=True):
        assert label == int(Path(numbers.table.keys[row]).stem) % 12
    assert load_data(str(tmp_path / "root")).class_names == ["2", "9", "10"]


def test_folders_named_as_splits_are_the_splits(tmp_path: Path) -> None:
    class_folder(tmp_path / "train", 30)
    class_folder(tmp_path / "val", 12)
    assert len(load_data(str(tmp_path), split="validation")) == 12
    parts = [len(load_data(str(tmp_path), split=split)) for split in ("train", "test")]
    assert sum(parts) == 30


def test_a_split_column_says_which_pairs_are_for_what(tmp_path: Path) -> None:
    path = table(tmp_path, 60)
    lines = path.read_text().splitlines()
    parts = ["train", "val", "Test", "restval", "test"]
    rows = [f"{line},{parts[i % 5]}" for i, line in enumerate(lines[1:])]
    path.write_text("\n".join([lines[0] + ",split", *rows]))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for member in (path, *sorted((tmp_path / "pics").iterdir())):
            file.write(member, f"deep/{member.relative_to(tmp_path)}")
    for source in (path, tmp_path / "x.zip"):
        counts = {split: len(load_data(str(source), split=split)) for split in ("train", "validation", "test")}
        assert counts == {"train": 12, "validation": 12, "test": 24}
        test: Any = load_data(str(source), split="test")
        assert {int(Path(test.table.keys[row]).stem) % 5 for row in test.rows} == {2, 4}
        assert "line 5 is of no split known here ('restval')" in test.broken
        assert len(test.broken) == 12
        assert test.heldout_by == "test: as the data say; validation: as the data say"
        assert "split in 'split'" in test.understood
    (tmp_path / "plain").mkdir()
    plain = load_data(str(table(tmp_path / "plain")))
    assert plain.heldout_by.startswith("test: 20% of the other pairs, by a hash")
    assert plain.subset([0]).heldout_by == plain.heldout_by
    with pytest.raises(CleanerError, match=r"no column 'part'.*split_column="):
        load_data(str(path), split_column="part")


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("check", ["full", "quick"])
def test_broken_pictures_are_named_and_left_out(check: str, tmp_path: Path) -> None:
    path = table(tmp_path, 100)
    (tmp_path / "pics" / "3.png").write_bytes(cut(picture(3)))
    (tmp_path / "pics" / "50.png").unlink()
    (tmp_path / "pics" / "77.png").write_text("no picture")
    parts: list[Any] = [
        load_data(str(path), split=s, check=check, most_broken=0.5) for s in ("train", "validation", "test")
    ]
    assert sum(map(len, parts)) == 97
    named = " ".join(name for part in parts for name in part.broken)
    assert all(f"pics/{i}.png" in named for i in (3, 50, 77))
    for part in parts:
        part.images(range(len(part)))
    with pytest.raises(CleanerError, match=r"of \d+ pictures of .* cannot be read, more than 0%.*most_broken"):
        [load_data(str(path), split=split, check=check, most_broken=0) for split in ("train", "validation", "test")]


@pytest.mark.parametrize("share", ["abc", 1.5, float("nan")])
def test_how_many_may_be_broken_is_a_share(tmp_path: Path, share: Any) -> None:
    with pytest.raises(CleanerError, match=f"most_broken is a share between 0 and 1, not {share}"):
        load_data(str(table(tmp_path)), most_broken=share)


def test_a_picture_that_breaks_later_stops_with_its_name(tmp_path: Path) -> None:
    data: Any = load_data(str(table(tmp_path)))
    key = data.table.keys[data.rows[0]]
    (tmp_path / key).unlink()
    with pytest.raises(CleanerError, match=f"the picture {key} cannot be read any more"):
        data.images([0])


def test_names_and_captions_that_are_no_text_are_one_sentence(tmp_path: Path) -> None:
    class_folder(tmp_path / "root", 6)
    os.rename(tmp_path / "root" / "red" / "0.png", os.fsencode(tmp_path / "root" / "red") + b"/caf\xe9.png")
    with pytest.raises(CleanerError, match=r"'red/caf\\udce9\.png' in .* is no text in UTF-8"):
        load_data(str(tmp_path / "root"))
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        for name, content in (("0.png", picture(0)), ("0.json", rb'{"caption": "a \ud800 wall"}')):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    with pytest.raises(CleanerError, match=r"'a \\ud800 wall' in .* is no text in UTF-8"):
        load_data(str(tmp_path / "x.tar"), split="all")


def test_what_is_no_file_is_a_broken_picture(tmp_path: Path) -> None:
    path = table(tmp_path, 8)
    os.mkfifo(tmp_path / "pics" / "pipe.png")
    path.write_text(path.read_text() + "\npics/pipe.png,a wall\n/dev/zero,a wall\npics/\0.png,a wall\npics,a wall")
    data = load_data(str(path), split="all", most_broken=0.5)
    assert (len(data), len(data.broken)) == (8, 4)
    assert "/dev/zero is no file" in data.broken


def test_what_a_source_says_is_no_option(tmp_path: Path) -> None:
    with pytest.raises(CleanerError, match=r"does not take these options: table\. Its options: root, "):
        load_data(str(table(tmp_path)), table="x")


def test_far_too_large_pictures_are_broken_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(CleanerError, match="has too many pixels"):
        load_data(str(table(tmp_path)))


@pytest.mark.parametrize(
    ("limit", "value", "sentence"),
    [
        ("MOST_MEMBERS", 5, "holds 61 files, more than 5"),
        ("MOST_BYTES", 10, "GB unpacked"),
        ("MOST_MEMBER", 60, "larger than 0 MB"),
    ],
)
def test_limits_of_a_zip(
    limit: str, value: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "x.zip")
    monkeypatch.setattr(archive, limit, value)
    with pytest.raises(CleanerError, match=sentence):
        load_data(path)


def test_a_zip_bomb_and_paths_that_climb(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/bomb.png", b"\0" * 5_000_000)
    with pytest.raises(CleanerError, match="packed more than 100 : 1"):
        load_data(str(tmp_path / "bomb.zip"))
    (tmp_path / "secret.png").write_bytes(picture(0))
    with zipfile.ZipFile(tmp_path / "climb.zip", "w") as file:
        file.writestr(
            "set/pairs.csv", "filepath,title\n" + "\n".join(f"../../x{i}/../secret.png,a {i}" for i in range(20))
        )
    with pytest.raises(CleanerError, match="cannot be read"):
        load_data(str(tmp_path / "climb.zip"))
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_of_a_zip_is_left_out(packing: int, tmp_path: Path) -> None:
    class_folder(tmp_path / "root", 30)
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", packing) as file:
        for member in sorted((tmp_path / "root").rglob("*.png")):
            file.write(member, member.relative_to(tmp_path / "root"))
    hit = zipfile.ZipFile(path).getinfo("red/3.png")
    content = bytearray(path.read_bytes())
    start = hit.header_offset + 30 + len(hit.filename)
    content[start : start + hit.compress_size] = b"\xff" * hit.compress_size
    path.write_bytes(content)
    data: Any = load_data(str(path), split="all")
    assert (len(data), data.broken) == (29, [f"red/3.png cannot be read from {path}"])


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_bomb_that_says_it_is_small(packing: int, tmp_path: Path) -> None:
    zipped(tmp_path / "x.zip", 40)
    with zipfile.ZipFile(tmp_path / "x.zip", "a", packing) as file:
        file.writestr("set/bomb.png", bytes(200_000_000))
    content = bytearray((tmp_path / "x.zip").read_bytes())
    content[(size := content.rfind(b"PK\1\2") + 24) : size + 4] = (5000).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(content)
    data: Any = load_data(str(tmp_path / "x.zip"), split="all")
    tracemalloc.start()
    try:
        assert data.table.read("set/0.png") == picture(0)
        with suppress(CleanerError):
            data.table.read("set/bomb.png")
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("version", [True, False])
def test_a_zip_with_a_broken_index_is_one_sentence(version: bool, tmp_path: Path) -> None:
    content = bytearray(Path(zipped(tmp_path / "x.zip", 4)).read_bytes())
    last = content.rfind(b"PK\1\2")
    if version:
        content[last + 6] = 99
    else:
        content[last + 9] |= 8  # "this name is in UTF-8"
        content[last + 46] = 0xFF
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(CleanerError, match="cannot be read as a zip"):
        load_data(str(tmp_path / "x.zip"))


def test_a_table_in_a_zip_is_read_as_strictly_as_beside_its_pictures(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("pairs.csv", "filepath,title\n0.png,a café".encode("latin-1"))
        file.writestr("0.png", picture(0))
    with pytest.raises(CleanerError, match=r"pairs\.csv cannot be read as a table .*save it as CSV in UTF-8"):
        load_data(str(tmp_path / "x.zip"))


def test_uploaded_files_are_kept_as_one_zip(tmp_path: Path) -> None:
    path = table(tmp_path, 12)
    rows = path.read_text().replace("pics/", "").encode()
    files = [("pairs.csv", rows), *[(f"{i}.png", picture(i)) for i in range(12)]]
    kept = archive.packed(files, tmp_path / "uploads")
    data = load_data(str(kept), split="all")
    assert len(data) == 12
    assert all(
        caption(int(data.table.keys[row][:-4])) == text for row, text in zip(data.rows, data.captions, strict=True)
    )  # type: ignore[attr-defined]
    assert archive.packed(files[::-1], tmp_path / "uploads") == kept  # the order of the upload does not matter
    assert kept.name.startswith("pairs-")
    again = ("my pictures, new.zip", kept.read_bytes())
    assert archive.packed([again], tmp_path / "uploads") == kept  # the same content is kept once
    alone = archive.packed([again], tmp_path / "again")
    assert alone.name == kept.name.replace("pairs-", "my_pictures_new-")
    assert alone.read_bytes() == kept.read_bytes()
    with pytest.raises(CleanerError, match=r"mine\.zip came with other files"):
        archive.packed([("mine.zip", b""), *files], tmp_path / "uploads")
    with pytest.raises(CleanerError, match=r"two files are called 0\.png"):
        archive.packed([*files, ("../0.png", b"")], tmp_path / "uploads")
    assert [file.name for file in (tmp_path / "uploads").iterdir()] == [kept.name]


def test_a_row_with_more_fields_than_the_header_is_left_out(tmp_path: Path) -> None:
    path = table(tmp_path, 3)
    path.write_text("filepath,title,class\npics/0.png,a red wall,red,\npics/1.png,a big, green wall,green\n,,\n")
    data = load_data(str(path), split="all")
    assert (data.captions, data.class_names) == (["a red wall"], ["red"])
    assert "line 3 has more fields than the header: quote what holds the separator" in data.broken
    (tmp_path / "none.csv").write_text("filepath,title\na.png,red, green\n")
    with pytest.raises(CleanerError, match="line 2 has more fields"):
        load_data(str(tmp_path / "none.csv"))


def test_hidden_files_and_folders_are_no_pictures_and_classes(tmp_path: Path) -> None:
    class_folder(tmp_path / "root", 12)
    (tmp_path / "root" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "root" / ".ipynb_checkpoints" / "0.png").write_bytes(picture(0))
    (tmp_path / "root" / "red" / "._0.png").write_bytes(b"\0\5\x16\7")
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        file.add(tmp_path / "root" / "red", "red")
    for source, count in (("root", 12), ("x.tar", 4)):
        data = load_data(str(tmp_path / source), split="all", most_broken=0)
        assert (len(data), data.class_names) == (count, sorted(NAMES) if count == 12 else ["red"])


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    class_folder(tmp_path, 12)
    (tmp_path / "red").rename(tmp_path / "train")
    assert load_data(str(tmp_path), split="all").class_names == ["blue", "green", "train"]
    for name in ("blue", "green"):
        (tmp_path / name).rename(tmp_path.parent / name)
    with pytest.raises(CleanerError, match="holds no pairs"):
        load_data(str(tmp_path))  # pictures without classes


def test_two_folders_that_are_one_class_in_words(tmp_path: Path) -> None:
    class_folder(tmp_path, 12)
    (tmp_path / "red").rename(tmp_path / "sea_lion")
    (tmp_path / "green").rename(tmp_path / "sea lion")
    data = load_data(str(tmp_path), split="all")
    assert (data.class_names, data.labels.bincount().tolist()) == (["blue", "sea lion"], [4, 8])


@pytest.mark.parametrize(
    ("names", "texts"),
    [
        (("photo.1.png", "photo.2.png"), ("photo.1.txt", "photo.2.txt")),
        (("1.png", "1.depth.png", "2.png"), ("1.txt", "2.caption.txt")),
    ],
)
def test_pictures_of_a_shard_get_their_own_captions(
    names: tuple[str, ...], texts: tuple[str, ...], tmp_path: Path
) -> None:
    """Dots in a name: up to the first one, photo.1 and photo.2 would be one sample, and a depth map a photo."""
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        for i, name in enumerate((*names, *texts)):
            content = name[:-4].encode() if name in texts else picture(i)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    data: Any = load_data(str(tmp_path / "x.tar"), split="all")
    pairs = {data.table.keys[row][6:]: text for row, text in zip(data.rows, data.captions, strict=True)}
    wanted = [name for name in names if "depth" not in name]
    assert pairs == dict(zip(wanted, (text[:-4] for text in texts), strict=True))


def member(kind: bytes, size: bytes, content: bytes = b"") -> bytes:
    header = bytearray(tarfile.TarInfo("a.png").tobuf(tarfile.GNU_FORMAT))
    header[124:136], header[156:157] = size.ljust(12, b"\0"), kind
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    return bytes(header) + content.ljust(512, b"\0")


@pytest.mark.parametrize(
    "content",
    [
        member(b"L", b"2", b"x") * 3000,
        member(b"0", b"\x80" + b"\x7f" * 11),
        member(b"x", b"1000", b"21 hdrcharset=\xff\xfe\xff\xff\n"),
        member(b"x", b"26", b"22 GNU.sparse.map=a,b\n"),
    ],
    ids=["names without end", "a size without end", "no encoding", "no map"],
)
def test_crafted_tar_files_are_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(content + member(b"0", b"0")[:512] + bytes(1024))
    with pytest.raises(CleanerError, match="cannot be read as a tar"):
        load_data(str(tmp_path / "x.tar"))


def test_a_picture_of_a_shard_without_a_caption_is_left_out(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "00000.tar", "w") as file:
        for name, content in (("0.png", picture(0)), ("0.txt", b"a red wall"), ("1.png", picture(1))):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    data = load_data(str(tmp_path / "00000.tar"), split="all", classes="red,green")
    assert (data.captions, data.class_names, data.labels.tolist()) == (["a red wall"], ["red", "green"], [0])
    assert data.broken == ["00000.tar/1.png has no caption"]


def test_shards_of_one_name_in_two_folders(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        shards(tmp_path / name, 10)
    data: Any = load_data(f"shards:{tmp_path}/*/*.tar", split="all")
    assert len(data) == 20
    assert data.table.keys[0] == "a/0000.tar/000000.png"


def test_shards_follow_no_address_and_no_pipe(tmp_path: Path) -> None:
    for name in ("pipe:cat x.tar", "https://x/{0..1}.tar"):
        with pytest.raises(CleanerError, match="from this machine only"):
            load_data(f"shards:{name}")
    (tmp_path / "x.tar").write_bytes(b"nothing")
    with pytest.raises(CleanerError, match="cannot be read as a tar"):
        load_data(str(tmp_path / "x.tar"))
    with pytest.raises(CleanerError, match="there is no shard"):
        load_data(f"shards:{tmp_path}/0000.tar")


@pytest.mark.parametrize("last", ["100000", "99999999999", "9" * 5000])
def test_a_range_of_shards_has_an_end(last: str, tmp_path: Path) -> None:
    with pytest.raises(CleanerError, match="names more than 100,000 shards"):
        load_data(f"shards:{tmp_path}/{{0..{last}}}.tar")
    with pytest.raises(CleanerError, match="there is no shard"):
        load_data(f"shards:{tmp_path}/{{00001..99999}}.tar")


def test_names_without_data_get_one_sentence(tmp_path: Path) -> None:
    for kind in (*KINDS, "flickr8k", "coco"):
        with pytest.raises(CleanerError):
            load_data(kind)
    (tmp_path / "x.docx").write_text("x")
    with pytest.raises(CleanerError, match=r"is no table .*, folder of pictures, \.tar or \.zip"):
        load_data(str(tmp_path / "x.docx"))
    with pytest.raises(CleanerError, match=r"does not take these options: .*colour"):
        load_data(str(table(tmp_path)), colour=3)


def test_images_are_what_prefetch_read(tmp_path: Path) -> None:
    data: Any = load_data(str(table(tmp_path)))
    expected = data.images([3, 1, 2])
    data.prefetch([1, 2, 3])
    assert len(data._waiting) == 3
    assert torch.equal(data.images([3, 1, 2]), expected)
    assert not data._waiting


def test_prefetch_decodes_while_the_caller_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data: Any = load_data(str(table(tmp_path)))
    decoded = data._decoded

    def slow(row: int) -> torch.Tensor:
        time.sleep(0.05)
        return decoded(row)  # type: ignore[no-any-return]

    monkeypatch.setattr(data, "_decoded", slow)
    data.prefetch(range(3))
    time.sleep(0.3)
    began = time.perf_counter()
    data.images(range(3))
    assert time.perf_counter() - began < 0.05


def test_more_pairs_need_memory_for_their_texts_only(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(0, (200, 200)))

    def peak(count: int) -> int:
        path = tmp_path / f"{count}.csv"
        path.write_text("filepath,title\n" + f'a.png,"{caption(0)}"\n' * count)
        tracemalloc.start()
        data = load_data(str(path), check="quick")
        for first in range(0, 256, 64):
            data.images(range(first, first + 64))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(500)  # imports and threads
    assert peak(6_000) - peak(1_000) < 5_000 * 1500  # bytes per pair: texts, no pixels (120,000 each)


def test_framing_modes() -> None:
    wide = Image.new("RGB", (80, 40), "red")
    wide.paste("blue", (0, 0, 20, 40))
    shortest, squash, longest = (Framing(40, mode)(wide) for mode in ("shortest", "squash", "longest"))
    assert shortest.shape == squash.shape == longest.shape == (3, 40, 40)
    assert shortest[2, 20, 2] < 10 < 200 < squash[2, 20, 2]  # the blue edge is cut off, or kept
    assert longest[:, 2, 20].sum() == 0  # filled up with black


def test_triggers_act_after_resize_and_crop(tmp_path: Path) -> None:
    data = load_data(str(table(tmp_path)), classes="red,green,blue")
    trigger = TRIGGERS["badnet"](patch_size=28)
    for side in (64, 224, 336):
        poisoned = PoisonedData(data.framed(Framing(side)), trigger, "red", 0.2)
        row = poisoned.poison_indices[:1]
        hit, clean = poisoned.images(row), data.framed(Framing(side)).images(row)
        size = round(28 * side / 224)
        assert torch.equal(hit[0, :, -size:, -size:], trigger.patch(side))
        assert torch.equal(hit[0, :, :-size], clean[0, :, :-size])
        assert (hit.min() >= 0) and (hit.max() <= 1)  # noqa: PT018


def test_pictures_in_memory_are_framed_too(toy_data: TensorData) -> None:
    framed = toy_data.framed(Framing(48))
    assert framed.images([0, 1]).shape == (2, 3, 48, 48)
    assert toy_data.framed(Framing(32)) is toy_data
    assert framed.framed(Framing(32)) is toy_data


def test_cifar_as_torchvision_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    rng = np.random.default_rng(0)

    def batch(count: int) -> bytes:
        return pickle.dumps(
            {"data": rng.integers(0, 256, (count, 3072), dtype=np.uint8), "labels": [i % 10 for i in range(count)]}
        )

    for name, _ in CIFAR10.train_list:
        (folder / name).write_bytes(batch(20))
    (folder / "test_batch").write_bytes(batch(30))
    names = ["airplane", "automobile", *"cdefghij"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    with pytest.raises(CleanerError, match=r"CIFAR10 is not in .*download=true"):
        load_data(f"cifar10:{tmp_path}")  # the sums of the files are not those of CIFAR-10
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    data = load_data(f"cifar10:{tmp_path}", split="test")
    assert len(data) == 30
    assert data.class_names == names
    assert any("an airplane" in text for text in data.captions)
    assert data.framed(Framing(32)).images([0]).shape == (1, 3, 32, 32)
    assert len(load_data(f"cifar10:{tmp_path}")) + len(load_data(f"cifar10:{tmp_path}", split="validation")) == 100


def captioned(kind: str, folder: Path) -> tuple[str, str]:
    (folder / "pics").mkdir()
    for i in range(30):
        (folder / "pics" / f"{i}.jpg").write_bytes(picture(i, form="JPEG"))
    if kind == "coco":
        content: Any = {
            "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(30)],
            "annotations": [{"image_id": i, "caption": f"{caption(i)} {n}\n"} for i in range(30) for n in range(5)],
        }
        (folder / "c.json").write_text(json.dumps(content))
        return str(folder / "pics"), str(folder / "c.json")
    lines = [f"{i}.jpg#{n}\t{caption(i)} {n}" for i in range(30) for n in range(5)]
    (folder / "c.token").write_text("\n".join(lines))
    return str(folder / "pics"), str(folder / "c.token")


@pytest.mark.parametrize("kind", ["coco", "flickr30k"])
def test_sets_with_several_captions_give_one_of_them(kind: str, tmp_path: Path) -> None:
    path, annotations = captioned(kind, tmp_path)
    data: Any = load_data(f"{kind}:{path}", annotations=annotations, classes="red,green,blue")
    for row, text in zip(data.rows, data.captions, strict=True):
        assert text.startswith(caption(int(Path(data.table.keys[row]).stem)))
    assert len({text[-1] for text in data.captions}) > 1
    assert data.captions == load_data(f"{kind}:{path}", annotations=annotations).captions
    with pytest.raises(CleanerError, match=f"{kind}:/folder annotations="):
        load_data(f"{kind}:{path}")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"images": [{"id": 1, "file_name": "0.jpg"}], "annotations": '
                                     '[{"image_id": 1, "caption": null}]}'])  # fmt: skip
def test_broken_captions_of_coco_are_one_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(CleanerError, match="is no caption file of COCO"):
        load_data(f"coco:{tmp_path}", annotations=str(tmp_path / "c.json"))


def test_imagenet_folders_get_their_names_in_words(tmp_path: Path) -> None:
    for i in range(1000):
        (tmp_path / f"n{i:08d}").mkdir()
        (tmp_path / f"n{i:08d}" / "0.png").write_bytes(picture(i, (8, 8)))
    data = load_data(str(tmp_path), split="test")
    assert len(data.class_names) == len(set(data.class_names)) == 1000
    assert data.class_names[0] == "tench"


def test_real_photos(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "cifar10_small"
    data: Any = load_data(str(folder / "train.tar"))
    assert len(data.class_names) == 10
    assert data.images(range(64)).std() > 0.1
    with tarfile.open(folder / "test.tar") as archive_file:
        archive_file.extractall(tmp_path, filter="data")
    (tmp_path / "captions.csv").write_bytes((folder / "captions_test.csv").read_bytes())
    test: Any = load_data(str(tmp_path / "captions.csv"), classes=",".join(data.class_names))
    assert test.broken == []
    assert (test.labels >= 0).float().mean() > 0.5
    for row, label in zip(test.rows[:200], test.labels[:200].tolist(), strict=True):
        assert label == -1 or test.class_names[label] == Path(test.table.keys[row]).parent.name


def test_registry_lists_the_sources() -> None:
    assert {*KINDS, "scenes", "cifar10", "cifar100", "flickr8k", "flickr30k", "coco"} <= set(DATASETS)
    sources: list[Callable[..., CaptionData]] = [DATASETS[kind] for kind in KINDS]
    assert all(issubclass(source, FileData) for source in sources)  # type: ignore[arg-type]
    assert pairs.TEST_SHARE + pairs.VALIDATION_SHARE < 0.5
