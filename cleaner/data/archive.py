"""A zip with pictures and a caption table, or with one folder per class; read where it lies, never unpacked."""

from __future__ import annotations

import hashlib
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from cleaner.data.base import DATASETS
from cleaner.data.naming import fill_template
from cleaner.data.pairs import FileData, PairTable
from cleaner.data.table import read_table
from cleaner.files import atomic_write
from cleaner.models.framing import IMAGE_SUFFIXES
from cleaner.types import CleanerError

MAX_MEMBERS, MAX_TOTAL_BYTES = 1_000_000, 200 * 10**9
MAX_MEMBER_BYTES, MAX_COMPRESSION_RATIO, RATIO_EXEMPT_BYTES = 64_000_000, 100, 100_000
"""Bytes of one member; how many times larger than packed a member above `RATIO_EXEMPT_BYTES` bytes may be."""
# bz2 raises OSError; NotImplementedError, of an unknown packing, is a RuntimeError.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError)


@DATASETS.register("archive")
class ArchiveData(FileData):
    """`archive:/path/pictures.zip`; the options of `csv` name separator and columns of the table in it."""

    def __init__(
        self,
        path: str = "",
        separator: str = "",
        path_column: str = "",
        caption_column: str = "",
        class_column: str = "",
        split_column: str = "",
        **file_options: Any,
    ) -> None:
        try:
            archive = zipfile.ZipFile(path)
        except (*ZIP_ERRORS, ValueError) as error:  # ValueError: names that are no UTF-8, though they say so
            raise CleanerError(
                f"{path!r} cannot be read as a zip: name one, as in archive:/folder/pictures.zip."
            ) from error
        members = validate_archive(archive, path)

        def read(key: str) -> bytes:
            try:
                return _read_member(archive, members[key])
            except ZIP_ERRORS as error:
                raise CleanerError(f"{key} cannot be read from {path}: it is broken or encrypted.") from error

        tables = [name for name in members if name.lower().endswith((".csv", ".tsv"))]
        if len(tables) > 1:
            raise CleanerError(f"{path} holds {len(tables)} tables ({', '.join(tables[:3])}): keep one of them in it.")
        if tables:
            lines = io.TextIOWrapper(io.BytesIO(read(tables[0])), encoding="utf-8-sig", newline="")
            found = read_table(lines, tables[0], separator, path_column, caption_column, class_column, split_column)
            self.format_summary = str(found)
            table = found.to_pair_table(read, PurePosixPath(tables[0]).parent.as_posix())
        else:
            table = PairTable([name for name in members if name.lower().endswith(IMAGE_SUFFIXES)], [], read)
            table.classes = [PurePosixPath(key).parent.name.replace("_", " ") for key in table.keys]
            if "" in table.classes:
                raise CleanerError(
                    f"{path} holds no caption table: put a CSV with filepath and title, or class folders in."
                )
            table.captions = [fill_template(name, key) for name, key in zip(table.classes, table.keys, strict=True)]
        super().__init__(table, f"archive:{Path(path).resolve()}", **file_options)

    @staticmethod
    def recognizes(path: Path) -> bool:
        return path.suffix.lower() == ".zip"


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return the content of a member. Read at once, it would be unpacked to its end, however small it says it is."""
    bounded = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    with archive.open(member) as file:
        # Of bz2 and lzma all that was read is unpacked, of bz2 up to a megabyte per byte.
        step = file.MIN_READ_SIZE = 1 << 20 if bounded else 64  # type: ignore[attr-defined]
        return b"".join(iter(lambda: file.read(step), b""))


def pack_uploads(files: Sequence[tuple[str, bytes]], folder: Path) -> Path:
    """Keep uploaded files (name, content) in `folder` as one zip, and return its path.

    It has the name of the zip or the table, and a hash of its content: the same content is kept once, under its first
    name. A single zip stays as it is; pictures and a caption table go into one, side by side. Raises `CleanerError`
    for a zip among other files, and for two files of one name.
    """
    names = [PurePosixPath(name.replace("\\", "/")).name for name, _ in files]
    zips = [name for name in names if name.lower().endswith(".zip")]
    if zips and len(files) > 1:
        raise CleanerError(f"{zips[0]} came with other files: upload one zip alone, or pictures and their table.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise CleanerError(f"two files are called {twice}: rename one, in the table too, or upload a zip.")
    content = files[0][1]
    if not zips:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, (_, data) in sorted(zip(names, files, strict=True)):
                archive.writestr(zipfile.ZipInfo(name), data)
        content = buffer.getvalue()
    known = f"-{hashlib.sha256(content).hexdigest()[:16]}.zip"
    if kept := sorted(folder.glob(f"*{known}")):
        return kept[0]
    named = next((name for name in names if name.lower().endswith((".zip", ".csv", ".tsv"))), names[0])
    # No blank: the path stands in a line with options after it, where it would need quotes.
    path = folder / (re.sub(r"[^\w.-]+", "_", PurePosixPath(named).stem)[:60] + known)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return path


def validate_archive(archive: zipfile.ZipFile, path: str) -> dict[str, zipfile.ZipInfo]:
    """Return the files of a zip by name; raises `CleanerError` if it holds too many, too large or too dense ones."""
    infos = [info for info in archive.infolist() if not info.is_dir() and not info.filename.startswith("__MACOSX/")]
    if len(infos) > MAX_MEMBERS:
        raise CleanerError(f"{path} holds {len(infos):,} files, more than {MAX_MEMBERS:,}: split it.")
    if sum(info.file_size for info in infos) > MAX_TOTAL_BYTES:
        raise CleanerError(f"{path} is larger than {MAX_TOTAL_BYTES // 10**9} GB unpacked: split it.")
    for info in infos:
        if info.file_size > MAX_MEMBER_BYTES:
            raise CleanerError(
                f"{info.filename} in {path} is larger than {MAX_MEMBER_BYTES // 10**6} MB: make it smaller."
            )
        if info.file_size > max(RATIO_EXEMPT_BYTES, MAX_COMPRESSION_RATIO * info.compress_size):
            raise CleanerError(
                f"{info.filename} in {path} is packed more than {MAX_COMPRESSION_RATIO} : 1, as no picture is: leave it out."
            )
        if info.flag_bits & 1:
            raise CleanerError(f"{info.filename} in {path} is encrypted: pack the pictures without a password.")
    return {info.filename: info for info in infos}
