"""Zips: limits, zip bombs, damaged members, and packing of uploads."""

from __future__ import annotations

import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cleaner import load_data
from cleaner.data import archive
from cleaner.types import CleanerError
from tests.data.files import NAMES, image_bytes, make_caption, write_class_folder, write_table, write_zip


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("MAX_MEMBERS", 5, "61 files"),
        ("MAX_TOTAL_BYTES", 10, "GB unpacked"),
        ("MAX_MEMBER_BYTES", 60, "larger than 0 MB"),
    ],
)
def test_zip_limits(limit: str, value: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "x.zip")
    monkeypatch.setattr(archive, limit, value)
    with pytest.raises(CleanerError, match=message):
        load_data(path)


def test_zip_bomb_and_path_traversal_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/bomb.png", b"\0" * 5_000_000)
    with pytest.raises(CleanerError, match="more than 100 : 1"):
        load_data(str(tmp_path / "bomb.zip"))
    (tmp_path / "secret.png").write_bytes(image_bytes(0))
    with zipfile.ZipFile(tmp_path / "climb.zip", "w") as file:
        file.writestr(
            "set/pairs.csv", "filepath,title\n" + "\n".join(f"../../x{i}/../secret.png,a {i}" for i in range(20))
        )
    with pytest.raises(CleanerError, match="cannot be read"):
        load_data(str(tmp_path / "climb.zip"))
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_member_is_skipped(compression: int, tmp_path: Path) -> None:
    write_class_folder(tmp_path / "root", 30)
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", compression) as file:
        for member in sorted((tmp_path / "root").rglob("*.png")):
            file.write(member, member.relative_to(tmp_path / "root"))
    damaged = zipfile.ZipFile(path).getinfo("red/3.png")
    content = bytearray(path.read_bytes())
    start = damaged.header_offset + 30 + len(damaged.filename)
    content[start : start + damaged.compress_size] = b"\xff" * damaged.compress_size
    path.write_bytes(content)
    data: Any = load_data(str(path), split="all")
    assert (len(data), data.skipped_items) == (29, [f"red/3.png cannot be read from {path}"])


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_bomb_with_a_false_size_is_read_in_bounded_memory(compression: int, tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", 40)
    with zipfile.ZipFile(tmp_path / "x.zip", "a", compression) as file:
        file.writestr("set/bomb.png", bytes(200_000_000))
    content = bytearray((tmp_path / "x.zip").read_bytes())
    content[(size := content.rfind(b"PK\1\2") + 24) : size + 4] = (5000).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(content)
    data: Any = load_data(str(tmp_path / "x.zip"), split="all")
    tracemalloc.start()
    try:
        assert data.table.read("set/0.png") == image_bytes(0)
        content = b""
        with suppress(CleanerError):  # of a compression that notices the false size
            content = data.table.read("set/bomb.png")
        assert len(content) <= 5000
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("breaks_version", [True, False])
def test_broken_zip_index_raises(breaks_version: bool, tmp_path: Path) -> None:
    content = bytearray(Path(write_zip(tmp_path / "x.zip", 4)).read_bytes())
    last = content.rfind(b"PK\1\2")
    if breaks_version:
        content[last + 6] = 99
    else:
        content[last + 9] |= 8  # "this name is in UTF-8"
        content[last + 46] = 0xFF
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(CleanerError, match="cannot be read as a zip"):
        load_data(str(tmp_path / "x.zip"))


@pytest.mark.parametrize("top", ["", "photos/", "a/b/"])
def test_a_zip_of_class_folders_equals_the_folder(top: str, tmp_path: Path) -> None:
    for split, count in (("train", 30), ("val", 12), ("test", 9)):
        write_class_folder(tmp_path / "root" / split, count)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for image in (tmp_path / "root").rglob("*.png"):
            file.write(image, top + image.relative_to(tmp_path / "root").as_posix())
        file.writestr(f"{top}train/.ipynb_checkpoints/0.png", image_bytes(0))
    for split, count in (("train", 30), ("validation", 12), ("test", 9), ("all", 51)):
        zipped, folder = (load_data(str(tmp_path / name), split=split) for name in ("x.zip", "root"))
        assert len(zipped) == len(folder) == count
        assert zipped.class_names == folder.class_names == sorted(NAMES)
        assert zipped.labels.bincount().tolist() == folder.labels.bincount().tolist()


def test_folders_below_a_class_are_that_class(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for i in range(12):
            file.writestr(f"photos/{NAMES[i % 3]}/day_{i % 2}/{i}.png", image_bytes(i))
    assert load_data(str(tmp_path / "x.zip"), split="all").class_names == sorted(NAMES)


def test_imagenet_s_folders_in_a_zip_get_their_names(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for i in range(1000):
            file.writestr(f"train/n{i:08d}/{i}.png", image_bytes(i, (2, 2)))
    data = load_data(str(tmp_path / "x.zip"), split="all")
    assert (data.class_names[0], len(data.class_names)) == ("tench", 1000)
    assert data.captions[data.labels.tolist().index(0)].endswith("a tench")


def test_table_in_a_zip_must_be_utf8(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("pairs.csv", "filepath,title\n0.png,a café".encode("latin-1"))
        file.writestr("0.png", image_bytes(0))
    with pytest.raises(CleanerError, match=r"pairs\.csv .*UTF-8"):
        load_data(str(tmp_path / "x.zip"))


def test_uploads_are_stored_as_one_zip(tmp_path: Path) -> None:
    path = write_table(tmp_path, 12)
    rows = path.read_text().replace("pics/", "").encode()
    files = [("pairs.csv", rows), *[(f"{i}.png", image_bytes(i)) for i in range(12)]]
    stored = archive.pack_uploads(files, tmp_path / "uploads")
    data = load_data(str(stored), split="all")
    assert len(data) == 12
    assert all(
        make_caption(int(data.table.keys[row][:-4])) == text for row, text in zip(data.rows, data.captions, strict=True)
    )
    assert archive.pack_uploads(files[::-1], tmp_path / "uploads") == stored  # in any order
    assert stored.name.startswith("pairs-")
    same_zip = ("my images, new.zip", stored.read_bytes())
    assert archive.pack_uploads([same_zip], tmp_path / "uploads") == stored  # equal content is stored once
    renamed = archive.pack_uploads([same_zip], tmp_path / "other")
    assert renamed.name == stored.name.replace("pairs-", "my_images_new-")
    assert renamed.read_bytes() == stored.read_bytes()
    with pytest.raises(CleanerError, match=r"mine\.zip"):
        archive.pack_uploads([("mine.zip", b""), *files], tmp_path / "uploads")
    with pytest.raises(CleanerError, match=r"two files .*0\.png"):
        archive.pack_uploads([*files, ("../0.png", b"")], tmp_path / "uploads")
    assert [file.name for file in (tmp_path / "uploads").iterdir()] == [stored.name]


def test_images_beside_the_class_folders_are_left_out_and_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("preview.png", image_bytes(0))
        for i in range(12):
            file.writestr(f"{NAMES[i % 3]}/{i}.png", image_bytes(i))
    data = load_data(str(tmp_path / "x.zip"), split="all")
    assert (data.class_names, data.skipped_items) == (sorted(NAMES), ["outside of folders: 1 without a class"])


def test_names_in_utf8_without_its_mark(tmp_path: Path) -> None:
    """Info-ZIP and others store names so; Python reads them as cp437."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for i in range(12):
            file.writestr(f"{('café', '日本')[i % 2]}/{i}.png", image_bytes(i))
    content = bytearray((tmp_path / "x.zip").read_bytes())
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = content.find(magic)
        while start >= 0:
            content[start + offset + 1] &= 0xF7
            start = content.find(magic, start + 1)
    (tmp_path / "x.zip").write_bytes(content)
    assert zipfile.ZipFile(tmp_path / "x.zip").infolist()[0].flag_bits & 0x800 == 0
    data = load_data(str(tmp_path / "x.zip"), split="all")
    assert (len(data), data.class_names, data.skipped_items) == (12, ["café", "日本"], [])


@pytest.mark.parametrize(
    ("member", "listed"),
    [
        ("images/{}.png", "images/{}.png"),
        ("images/{}.png", "../images/{}.png"),
        ("./images/{}.png", "images/{}.png"),
        ("images/{}.png", r"images\{}.png"),
        ("images/{}é.png", "images/{}e\N{COMBINING ACUTE ACCENT}.png"),
        ("{}.png", "photos/{}.png"),
    ],
    ids=["from the top", "upwards", "stored with a dot", "Windows", "Unicode of a Mac", "without its folder"],
)
def test_a_table_finds_its_images(member: str, listed: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        rows = [f"{listed.format(i)},{make_caption(i)}" for i in range(12)]
        file.writestr("annotations/pairs.csv", "\n".join(["filepath,title", *(row.replace(", ", " ") for row in rows)]))
        file.writestr("annotations/.ipynb_checkpoints/pairs.csv", "filepath,title\n")
        for i in range(12):
            file.writestr(member.format(i), image_bytes(i))
    data = load_data(str(tmp_path / "x.zip"), split="all")
    assert (len(data), data.skipped_items) == (12, [])


def test_an_image_that_is_missing_is_not_replaced_by_another_of_its_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        paths = [f"train/{i}.png" for i in range(12)]
        file.writestr("pairs.csv", "\n".join(["filepath,title", "val/0.png,gone", *(f"{p},a wall" for p in paths)]))
        for i, path in enumerate(paths):
            file.writestr(path, image_bytes(i))
    data = load_data(str(tmp_path / "x.zip"), split="all", most_broken=0.2)
    assert data.skipped_items == [f"val/0.png is not in {tmp_path / 'x.zip'}"]
