"""Tar shards: pairing of images and captions, crafted files, ranges, URLs."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

from cleaner import load_data
from cleaner.types import CleanerError
from tests.data.files import image_bytes, write_shards, write_tar


@pytest.mark.parametrize(
    ("names", "texts"),
    [
        (("photo.1.png", "photo.2.png"), ("photo.1.txt", "photo.2.txt")),
        (("1.png", "1.depth.png", "2.png"), ("1.txt", "2.caption.txt")),
    ],
)
def test_images_get_their_own_captions(names: tuple[str, ...], texts: tuple[str, ...], tmp_path: Path) -> None:
    """Cut at the first dot, photo.1 and photo.2 would be one sample, and a depth map a photo."""
    contents = {name: image_bytes(i) for i, name in enumerate(names)} | {name: name[:-4].encode() for name in texts}
    write_tar(tmp_path / "x.tar", contents)
    data: Any = load_data(str(tmp_path / "x.tar"), split="all")
    pairs = {data.table.keys[row][6:]: text for row, text in zip(data.rows, data.captions, strict=True)}
    paired = [name for name in names if "depth" not in name]
    assert pairs == dict(zip(paired, (text[:-4] for text in texts), strict=True))


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
    ids=["endless names", "endless size", "bad encoding", "bad sparse map"],
)
def test_crafted_tar_files_raise(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(content + member(b"0", b"0")[:512] + bytes(1024))
    with pytest.raises(CleanerError, match=r"x\.tar .*tar"):
        load_data(str(tmp_path / "x.tar"))


def test_an_image_without_a_caption_is_skipped(tmp_path: Path) -> None:
    members = {"0.png": image_bytes(0), "0.txt": b"a red wall", "1.png": image_bytes(1)}
    write_tar(tmp_path / "00000.tar", members | {"2.png": image_bytes(2), "2.txt": b" \n"})
    data = load_data(str(tmp_path / "00000.tar"), split="all", classes="red,green")
    assert (data.captions, data.class_names, data.labels.tolist()) == (["a red wall"], ["red", "green"], [0])
    assert data.skipped_items == ["00000.tar/1.png has no caption", "00000.tar/2.png has no caption"]


def test_an_image_may_have_several_captions(tmp_path: Path) -> None:
    texts = {
        "0.txt": "a dog\n\n a  brown dog \n",
        "1.json": '{"caption": ["a cat", 3, "a black cat"], "label": 7}',
        "2.json": '{"caption": [{"raw": "a fish"}], "captions": ["a bird"]}',
        "3.txt": "a red\ncar",
        "3.json": '{"caption": "a red\\ncar"}',  # as img2dataset writes a caption with a line end
        "4.json": '{"caption": "a red\\nbus"}',
        "4.txt": "a red\nbus",
        "5.txt": "\n".join(f"line {i}" for i in range(50)),
    }
    members = {name: text.encode() for name, text in texts.items()}
    write_tar(tmp_path / "x.tar", members | {f"{i}.png": image_bytes(i) for i in range(6)})
    data: Any = load_data(str(tmp_path / "x.tar"), split="all")
    found: dict[str, list[str]] = {}
    for row, caption in zip(data.rows, data.captions, strict=True):
        found.setdefault(data.table.keys[row].removeprefix("x.tar/"), []).append(caption)
    long = found.pop("5.png")
    assert len(long) == 1
    assert long[0].startswith("line 0 line 1 ")
    assert found == {
        "0.png": ["a dog", "a brown dog"],
        "1.png": ["a cat", "a black cat"],
        "2.png": ["a bird"],
        "3.png": ["a red car"],
        "4.png": ["a red bus"],
    }


def test_texts_may_start_with_a_byte_order_mark(tmp_path: Path) -> None:
    texts = {"0.txt": "a dog", "1.json": '{"caption": "a dog"}'}
    members = {name: text.encode("utf-8-sig") for name, text in texts.items()}
    write_tar(tmp_path / "x.tar", members | {f"{i}.png": image_bytes(i) for i in range(2)})
    assert load_data(str(tmp_path / "x.tar"), split="all").captions == ["a dog", "a dog"]


def test_shards_with_one_name_in_two_folders(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        write_shards(tmp_path / name, 10)
    data: Any = load_data(f"shards:{tmp_path}/*/*.tar", split="all")
    assert len(data) == 20
    assert data.table.keys[0] == "a/0000.tar/000000.png"


def test_urls_pipes_and_missing_shards_raise(tmp_path: Path) -> None:
    for name in ("pipe:cat x.tar", "https://x/{0..1}.tar"):
        with pytest.raises(CleanerError, match="not a local file"):
            load_data(f"shards:{name}")
    (tmp_path / "x.tar").write_bytes(b"nothing")
    with pytest.raises(CleanerError, match=r"x\.tar .*tar"):
        load_data(str(tmp_path / "x.tar"))
    with pytest.raises(CleanerError, match=f"no shard '{tmp_path}/0000.tar'"):
        load_data(f"shards:{tmp_path}/0000.tar")


@pytest.mark.parametrize("last", ["100000", "99999999999", "9" * 5000])
def test_shard_ranges_are_limited(last: str, tmp_path: Path) -> None:
    with pytest.raises(CleanerError, match="100,000"):
        load_data(f"shards:{tmp_path}/{{0..{last}}}.tar")
    with pytest.raises(CleanerError, match="no shard"):
        load_data(f"shards:{tmp_path}/{{00001..99999}}.tar")


@pytest.mark.parametrize("year", ["", "2017"])
def test_shards_named_after_splits_are_these(year: str, tmp_path: Path) -> None:
    for name, count in ((f"set-train{year}-0000", 20), (f"set-val{year}-0000", 8), (f"set-test{year}-0000", 6)):
        pairs = [{f"{i}.png": image_bytes(i), f"{i}.txt": b"a red wall"} for i in range(count)]
        write_tar(tmp_path / f"{name}.tar", {key: value for pair in pairs for key, value in pair.items()})
    sizes = {split: len(load_data(str(tmp_path), split=split)) for split in ("train", "validation", "test")}
    assert sizes == {"train": 20, "validation": 8, "test": 6}
    alone = str(tmp_path / f"set-val{year}-0000.tar")
    assert len(load_data(alone, split="all")) == 8
    assert len(load_data(alone, split="train")) > 0, "a single shard is all data that there are"


def test_packed_class_folders_keep_their_splits(tmp_path: Path) -> None:
    for number in range(2):  # the same names in both shards
        folders = {f"photos/train/sea_lion/{i}": i for i in range(6)} | {
            f"photos/test/dog/good/{i}": i for i in range(3)
        }
        write_tar(tmp_path / f"{number}.tar", {f"./{name}.png": image_bytes(i) for name, i in folders.items()})
    train, test = (load_data(str(tmp_path), split=split) for split in ("train", "test"))
    assert (len(train), len(test)) == (12 - len(load_data(str(tmp_path), split="validation")), 6)
    assert train.class_names == test.class_names == ["dog", "sea lion"]
    assert set(train.labels.tolist()) == {1}
    assert set(test.labels.tolist()) == {0}
    assert all("sea lion" in caption for caption in train.captions)


def test_class_numbers_and_any_image_format(tmp_path: Path) -> None:
    formats = ("PNG", "GIF", "PPM", "JPEG")
    pairs = [
        {
            f"{i}.{image_format.lower()}": image_bytes(i, image_format=image_format),
            f"{i}.json": b'{"caption": "a photo", "label": %d, "class": true}' % (i % 2),
        }
        for i, image_format in enumerate(formats * 3)
    ]
    write_tar(tmp_path / "x.tar", {key: value for pair in pairs for key, value in pair.items()})
    data = load_data(str(tmp_path / "x.tar"), split="all", classes="cat,dog")
    assert (len(data), data.labels.bincount().tolist()) == (12, [6, 6])


@pytest.mark.parametrize("last", [2, 7])
def test_cls_files_hold_the_number_of_a_class(last: int, tmp_path: Path) -> None:
    numbers = [0, 1, last] * 4
    members = {f"{i}.cls": b"%d\n" % number for i, number in enumerate(numbers)}
    write_tar(tmp_path / "x.tar", members | {f"{i}.png": image_bytes(i) for i in range(len(numbers))})
    names = [f"thing {chr(97 + i)}" for i in range(last + 1)]
    data: Any = load_data(str(tmp_path / "x.tar"), split="all", classes=",".join(names))
    assert data.class_names == names
    for row, label, caption in zip(data.rows, data.labels.tolist(), data.captions, strict=True):
        assert label == numbers[int(Path(data.table.keys[row]).stem)]
        assert names[label] in caption
