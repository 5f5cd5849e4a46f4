"""Zips: their limits, bombs, damage, and uploads that are kept as one."""

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
from tests.data.files import image_bytes, make_caption, write_class_folder, write_table, write_zip


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
    path = write_zip(tmp_path / "x.zip")
    monkeypatch.setattr(archive, limit, value)
    with pytest.raises(CleanerError, match=sentence):
        load_data(path)


def test_a_zip_bomb_and_paths_that_climb(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/bomb.png", b"\0" * 5_000_000)
    with pytest.raises(CleanerError, match="packed more than 100 : 1"):
        load_data(str(tmp_path / "bomb.zip"))
    (tmp_path / "secret.png").write_bytes(image_bytes(0))
    with zipfile.ZipFile(tmp_path / "climb.zip", "w") as file:
        file.writestr(
            "set/pairs.csv", "filepath,title\n" + "\n".join(f"../../x{i}/../secret.png,a {i}" for i in range(20))
        )
    with pytest.raises(CleanerError, match="cannot be read"):
        load_data(str(tmp_path / "climb.zip"))
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_of_a_zip_is_left_out(packing: int, tmp_path: Path) -> None:
    write_class_folder(tmp_path / "root", 30)
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
    assert (len(data), data.skipped_items) == (29, [f"red/3.png cannot be read from {path}"])


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_bomb_that_says_it_is_small(packing: int, tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", 40)
    with zipfile.ZipFile(tmp_path / "x.zip", "a", packing) as file:
        file.writestr("set/bomb.png", bytes(200_000_000))
    content = bytearray((tmp_path / "x.zip").read_bytes())
    content[(size := content.rfind(b"PK\1\2") + 24) : size + 4] = (5000).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(content)
    data: Any = load_data(str(tmp_path / "x.zip"), split="all")
    tracemalloc.start()
    try:
        assert data.table.read("set/0.png") == image_bytes(0)
        with suppress(CleanerError):
            data.table.read("set/bomb.png")
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("version", [True, False])
def test_a_zip_with_a_broken_index_is_one_sentence(version: bool, tmp_path: Path) -> None:
    content = bytearray(Path(write_zip(tmp_path / "x.zip", 4)).read_bytes())
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
        file.writestr("0.png", image_bytes(0))
    with pytest.raises(CleanerError, match=r"pairs\.csv cannot be read as a table .*save it as CSV in UTF-8"):
        load_data(str(tmp_path / "x.zip"))


def test_uploaded_files_are_kept_as_one_zip(tmp_path: Path) -> None:
    path = write_table(tmp_path, 12)
    rows = path.read_text().replace("pics/", "").encode()
    files = [("pairs.csv", rows), *[(f"{i}.png", image_bytes(i)) for i in range(12)]]
    kept = archive.pack_uploads(files, tmp_path / "uploads")
    data = load_data(str(kept), split="all")
    assert len(data) == 12
    assert all(
        make_caption(int(data.table.keys[row][:-4])) == text for row, text in zip(data.rows, data.captions, strict=True)
    )  # type: ignore[attr-defined]
    assert archive.pack_uploads(files[::-1], tmp_path / "uploads") == kept  # the order of the upload does not matter
    assert kept.name.startswith("pairs-")
    again = ("my pictures, new.zip", kept.read_bytes())
    assert archive.pack_uploads([again], tmp_path / "uploads") == kept  # the same content is kept once
    alone = archive.pack_uploads([again], tmp_path / "again")
    assert alone.name == kept.name.replace("pairs-", "my_pictures_new-")
    assert alone.read_bytes() == kept.read_bytes()
    with pytest.raises(CleanerError, match=r"mine\.zip came with other files"):
        archive.pack_uploads([("mine.zip", b""), *files], tmp_path / "uploads")
    with pytest.raises(CleanerError, match=r"two files are called 0\.png"):
        archive.pack_uploads([*files, ("../0.png", b"")], tmp_path / "uploads")
    assert [file.name for file in (tmp_path / "uploads").iterdir()] == [kept.name]
