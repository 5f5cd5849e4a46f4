"""Zip files and tar shards: names that climb out, links, bombs, duplicates, false sizes, damage."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from cleaner.data.archive import pack_uploads
from cleaner.data.base import CaptionData
from tests.inputs import images, tables
from tests.inputs.cases import JSON_VALUES, ODD_NAMES, Case, Read, case

COUNT = 6
CAPTIONS = [f"a photo of a cat, number {i}" for i in range(COUNT)]
TABLE = "\n".join(["filepath,title", *[f'{i}.png,"{text}"' for i, text in enumerate(CAPTIONS)]])
Members = list[tuple[str, bytes]]


def zip_members() -> Members:
    return [("pairs.csv", TABLE.encode()), *[(f"{i}.png", images.sample("png")) for i in range(COUNT)]]


def make_zip(members: Members, compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, compression
            archive.writestr(info, content)
    return file.getvalue()


def tar_members() -> Members:
    texts = [(f"{i:06}.txt", text.encode()) for i, text in enumerate(CAPTIONS)]
    return [*texts, *[(f"{i:06}.png", images.sample("png")) for i in range(COUNT)]]


def make_tar(
    members: Members, change: Callable[[tarfile.TarInfo], None] | None = None, form: int = tarfile.PAX_FORMAT
) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if change is not None:
                change(info)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def write(case: Case, content: bytes) -> Path:
    path = case.folder / f"data.{case.kind}"
    path.write_bytes(content)
    return path


def reader(case: Case, content: bytes, expected: Callable[[CaptionData], None] | None = None) -> Read:
    return tables.reader(write(case, content), case, expected)


def build(case: Case, members: Members) -> bytes:
    return make_tar(members) if case.kind == "tar" else make_zip(members)


def members_of(case: Case) -> Members:
    return tar_members() if case.kind == "tar" else zip_members()


def is_complete(data: CaptionData) -> None:
    assert sorted(data.captions) == CAPTIONS


@case("zip tar", "climbing names")
def climbing_names(case: Case) -> Read:
    names = [case.draw(ODD_NAMES).replace("\ud800", "?") for _ in range(case.integer(1, 4))]
    extra = [(name, images.sample("png")) for name in names if name]
    return reader(case, build(case, [*members_of(case), *extra]))


@case("zip tar", "duplicates")
def duplicates(case: Case) -> Read:
    """Names that occur several times, also in other case; the pairs that are read are the same each time."""
    members = members_of(case)
    again = [case.pick(*members) for _ in range(case.integer(1, 4))]
    again = [(case.pick(name, name.upper(), f"./{name}"), content) for name, content in again]
    return reader(case, build(case, [*members, *again]))


@case("zip tar", "truncated")
def truncated(case: Case) -> Read:
    return reader(case, case.truncate(build(case, members_of(case))))


@case("zip tar", "mutated")
def mutated(case: Case) -> Read:
    return reader(case, case.mutate(build(case, members_of(case))))


@case("zip tar", "mutated headers")
def mutated_headers(case: Case) -> Read:
    """Damage where it counts: in the headers of members."""
    content = bytearray(build(case, members_of(case)))
    if case.kind == "tar":
        starts = [i for i in range(0, len(content), 512) if content[i + 257 : i + 262] == b"ustar"]
        size = 512
    else:
        marks = (b"PK\1\2", b"PK\3\4", b"PK\5\6")
        starts = [i for mark in marks for i in range(len(content)) if content[i : i + 4] == mark]
        size = 46
    for _ in range(case.integer(1, 4)):
        place = min(case.pick(*starts) + case.integer(0, size - 1), len(content) - 1)
        content[place] = case.integer(0, 255)
    return reader(case, bytes(content))


@case("zip tar", "odd table")
def odd_table(case: Case) -> Read:
    """The captions inside: another encoding, odd JSON, none at all, two tables."""
    members = members_of(case)
    if case.kind == "tar":
        value = case.draw(JSON_VALUES | st.fixed_dictionaries({"caption": JSON_VALUES, "class": JSON_VALUES}))
        members[: case.integer(1, COUNT)] = [
            ("000000.json", json.dumps(value).encode()),
            ("000001.txt", case.noise(40)),
        ]
    else:
        content = case.pick(b"", b"filepath,title", TABLE.encode("utf-16"), case.mutate(TABLE.encode()))
        members[0] = ("pairs.csv", content)
        members += [("more.csv", content)] * case.pick(0, 0, 1)
    return reader(case, build(case, members))


@case("zip tar", "mutated images")
def mutated_images(case: Case) -> Read:
    members = members_of(case)
    members[-1] = (members[-1][0], case.mutate(images.sample(case.pick(*images.FORMATS.split()))))
    return reader(case, build(case, members))


@case("zip tar", "bomb")
def bomb(case: Case) -> Read:
    """Members that unpack to thousands of times their size, or claim a size that the file does not have."""
    if case.kind == "tar":
        claimed = case.pick(2**40, 10**9, 65_000_000, 2**62, 999_999)
        content = bytearray(make_tar(tar_members()))
        place = case.pick(*[i for i in range(0, len(content), 512) if content[i + 257 : i + 262] == b"ustar"])
        content[place + 124 : place + 136] = b"\x80" + claimed.to_bytes(11, "big")
        content[place + 148 : place + 156] = b" " * 8
        total = sum(content[place : place + 512])
        content[place + 148 : place + 156] = f"{total:06o}\0 ".encode()
        return reader(case, bytes(content))
    compression = case.pick(zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    name = case.pick("pairs.csv", "0.png", "bomb.png")
    zeros = bytes(case.pick(150_000, 5_000_000, 70_000_000))
    content = bytearray(make_zip([*[pair for pair in zip_members() if pair[0] != name], (name, zeros)], compression))
    if case.pick(True, False):
        place = content.rfind(b"PK\1\2") + 24
        content[place : place + 4] = struct.pack("<I", case.pick(0, 5_000, 2**32 - 1))
    return reader(case, bytes(content))


@case("zip", "links")
def zip_links(case: Case) -> Read:
    """A member marked as a link is read as the text that it holds."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in zip_members()[:-1]:
            archive.writestr(name, content)
        link = zipfile.ZipInfo(case.pick("5.png", "x.png", "pairs2.txt"))
        link.external_attr = 0o120777 << 16
        archive.writestr(link, case.pick("../../secret.png", "/etc/passwd", "5.png") + "x" * case.integer(0, 20))
    return reader(case, file.getvalue())


@case("zip", "encrypted")
def encrypted(case: Case) -> Read:
    content = bytearray(make_zip(zip_members()))
    for mark, offset in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        place = content.find(mark, case.integer(0, len(content) // 3))
        content[place + offset] |= case.pick(1, 1, 0x41, 0x20)
    return reader(case, bytes(content))


@case("zip", "uploads")
def uploads(case: Case) -> Read:
    """Uploaded files are packed under names that stay in their folder."""
    name = case.draw(ODD_NAMES) or "x"
    files = [(name, case.noise(30)), *[(f"{i}.png", images.sample("png")) for i in range(2)]]
    folder = case.folder / "uploads"

    def read() -> None:
        stored = pack_uploads(files, folder)
        assert stored.parent == folder
        assert zipfile.is_zipfile(stored)

    return read


@case("tar", "links and devices")
def tar_links(case: Case) -> Read:
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
    kind, target = case.pick(*kinds, b"V", b"Z"), case.pick("../../secret.png", "/etc/passwd", "000000.png", "")
    number = case.integer(0, 2 * COUNT - 1)
    seen: list[str] = []

    def change(info: tarfile.TarInfo) -> None:
        seen.append(info.name)
        if len(seen) == number + 1:
            info.type, info.linkname, info.size = kind, target, 0

    return reader(case, make_tar(tar_members(), change))


@case("tar", "odd headers")
def odd_headers(case: Case) -> Read:
    """Extended headers with false sizes, paths, numbers; a sparse file; a compressed file under the name .tar."""
    headers = {
        case.pick(
            "size", "path", "linkpath", "mtime", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.major", "charset"
        ): case.pick("-1", "99999999999999999999", "../../x.png", "", "1e9", "nan", "0,1,2", "hdrcharset", "\u202e")
    }

    def change(info: tarfile.TarInfo) -> None:
        if info.name.endswith("3.png"):
            info.pax_headers = headers

    content = make_tar(tar_members(), change)
    if case.integer(0, 5) == 0:
        import gzip

        content = gzip.compress(content)
    return reader(case, content + case.noise(case.pick(0, 0, 700)))


@case("zip tar", "sound")
def sound(case: Case) -> Read:
    """Nothing is wrong with these; every pair must be read."""
    members = members_of(case)
    case.random.shuffle(members)
    return reader(case, build(case, members), is_complete)
