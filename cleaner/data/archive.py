"""A zip with images and a caption table, or with class folders; read in place, never unpacked."""

import hashlib
import io
import lzma
import posixpath
import re
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from cleaner.data.base import DATASETS
from cleaner.data.class_folders import is_hidden, split_path, tabulate_class_folders
from cleaner.data.pairs import FileData, PairTable
from cleaner.data.table import ParsedTable, read_table
from cleaner.files import MAX_IMAGE_BYTES, validate_regular, write_bytes
from cleaner.models.framing import IMAGE_SUFFIXES
from cleaner.types import CleanerError

MAX_MEMBERS, MAX_TOTAL_BYTES = 1_000_000, 200 * 10**9
MAX_MEMBER_BYTES, MAX_COMPRESSION_RATIO, RATIO_EXEMPT_BYTES = MAX_IMAGE_BYTES, 100, 100_000
"""Limits of one member: its size, and its compression ratio where it is larger than `RATIO_EXEMPT_BYTES`."""
# bz2 raises OSError; an unknown compression raises NotImplementedError, a RuntimeError.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError)


@DATASETS.register("archive")
class ArchiveData(FileData):
    """`archive:/path/images.zip`; the options of `csv` set the separator and columns of its table."""

    def __init__(
        self,
        path: str = "",
        *,
        separator: str = "",
        path_column: str = "",
        caption_column: str = "",
        class_column: str = "",
        split_column: str = "",
        **file_options: Any,
    ) -> None:
        try:
            validate_regular(path)
            archive = zipfile.ZipFile(path)
        except CleanerError:
            raise
        except (*ZIP_ERRORS, ValueError) as error:  # ValueError: names flagged as UTF-8 that are not
            raise CleanerError(
                f"{path!r} cannot be read as a zip: give one, as in archive:/folder/images.zip."
            ) from error
        members = validate_archive(archive, path)

        def read(key: str) -> bytes:
            if key not in members:
                raise CleanerError(f"{key} is not in {path}: check the paths in its table.")
            try:
                return _read_member(archive, members[key])
            except ZIP_ERRORS as error:
                raise CleanerError(f"{key} cannot be read from {path}: it is broken or encrypted.") from error

        def parse(name: str) -> ParsedTable:
            return read_table(
                io.TextIOWrapper(io.BytesIO(read(name)), encoding="utf-8-sig", newline=""),
                name,
                separator=separator,
                path_column=path_column,
                caption_column=caption_column,
                class_column=class_column,
                split_column=split_column,
            )

        tables = [
            name for name in members if name.lower().endswith((".csv", ".tsv")) and not is_hidden(split_path(name))
        ]
        if len(tables) > 1:
            raise CleanerError(f"{path} contains {len(tables)} tables ({', '.join(tables[:3])}): keep one.")
        if tables:
            parsed = parse(tables[0])
            self.format_summary = str(parsed)
            table = parsed.to_pair_table(read, PurePosixPath(tables[0]).parent.as_posix())
            table.keys = _find_members(table.keys, [key for key, *_ in parsed.rows], members)
        else:
            table = _tabulate_class_folders(members, read, path)
        super().__init__(table, f"archive:{Path(path).resolve()}", **file_options)

    @staticmethod
    def recognizes(path: Path) -> bool:
        return path.suffix.lower() == ".zip"


def _tabulate_class_folders(names: Iterable[str], read: Callable[[str], bytes], path: str) -> PairTable:
    """Return the pairs of a zip without a table; class and caption come from each image's folder."""
    table = tabulate_class_folders([name for name in names if name.lower().endswith(IMAGE_SUFFIXES)], read)
    if not table.keys:
        raise CleanerError(f"{path} has no caption table: add a CSV with filepath and title, or class folders.")
    return table


def _find_members(keys: Sequence[str], paths: Sequence[str], members: Iterable[str]) -> list[str]:
    """Return the member that each image of a table names; `keys`: its `paths` seen from the table's folder.

    A path may also start at the top of the zip, and be written as on Windows or in another form of Unicode. If no path
    is found so, as in uploads, where files lose their folders, file names decide. What is not found stays as it is.
    """
    by_path = {_normalize_path(member): member for member in members}
    wanted = [_normalize_path(path) for path in paths]
    found = [by_path.get(_normalize_path(key)) or by_path.get(path) for key, path in zip(keys, wanted, strict=True)]
    if not any(found):
        by_name, of_table = _index_by_name(by_path), _index_by_name(set(wanted))
        names = [posixpath.basename(path) for path in wanted]
        found = [by_path[by_name[name]] if name in by_name and name in of_table else None for name in names]
    return [member or key for member, key in zip(found, keys, strict=True)]


def _index_by_name(paths: Collection[str]) -> dict[str, str]:
    """Return file name -> path, for the names that only one path has."""
    counts = Counter(map(posixpath.basename, paths))
    return {name: path for path in paths if counts[name := posixpath.basename(path)] == 1}


def _normalize_path(name: str) -> str:
    return posixpath.normpath(unicodedata.normalize("NFC", name.replace("\\", "/")))


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return a member's content, read in steps: one read would unpack more than the stated size."""
    is_bounded = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    with archive.open(member) as file:
        # bz2 and lzma unpack everything they read; one byte of bz2 can become a megabyte.
        step = file.MIN_READ_SIZE = 1 << 20 if is_bounded else 64  # type: ignore[attr-defined]
        return b"".join(iter(lambda: file.read(step), b""))


def pack_uploads(files: Sequence[tuple[str, bytes]], folder: Path) -> Path:
    """Store uploaded files (name, content) in `folder` as one zip, and return its path.

    A single zip is stored unchanged. The file name ends in a hash of the content, so equal content is stored once.
    """
    # No file can be named after half characters.
    decoded = [name.encode(errors="replace").decode() for name, _ in files]
    names = [PurePosixPath(name.replace("\\", "/")).name for name in decoded]
    zips = [name for name in names if name.lower().endswith(".zip")]
    if zips and len(files) > 1:
        raise CleanerError(f"{zips[0]} came with other files: upload one zip alone, or images and their table.")
    if len(set(names)) < len(names):
        duplicate = next(name for name in names if names.count(name) > 1)
        raise CleanerError(f"two files are named {duplicate}: rename one, in the table too, or upload a zip.")
    content = files[0][1]
    if not zips:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, (_, data) in sorted(zip(names, files, strict=True)):
                archive.writestr(zipfile.ZipInfo(name), data)
        content = buffer.getvalue()
    suffix = f"-{hashlib.sha256(content).hexdigest()[:16]}.zip"
    if stored := sorted(folder.glob(f"*{suffix}")):
        return stored[0]
    title = next((name for name in names if name.lower().endswith((".zip", ".csv", ".tsv"))), names[0])
    # No blanks: the path is part of a line of options, where a blank would need quotes.
    path = folder / (re.sub(r"[^\w.-]+", "_", PurePosixPath(title).stem)[:60] + suffix)
    write_bytes(path, content)
    return path


def validate_archive(archive: zipfile.ZipFile, path: str) -> dict[str, zipfile.ZipInfo]:
    """Return the files of a zip by path; raises `CleanerError` beyond the limits or if encrypted."""
    infos = [info for info in archive.infolist() if not info.is_dir() and not info.filename.startswith("__MACOSX/")]
    if len(infos) > MAX_MEMBERS:
        raise CleanerError(f"{path} contains {len(infos):,} files, more than {MAX_MEMBERS:,}: split it.")
    if sum(info.file_size for info in infos) > MAX_TOTAL_BYTES:
        raise CleanerError(f"{path} is larger than {MAX_TOTAL_BYTES // 10**9} GB unpacked: split it.")
    for info in infos:
        fault = _find_member_fault(info)
        if fault:
            raise CleanerError(f"{info.filename} in {path} {fault}")
    return {_decode_name(info): info for info in infos}


def _decode_name(info: zipfile.ZipInfo) -> str:
    """Return a member's path; names without the mark of UTF-8 often are in UTF-8 all the same, as from zip on Linux."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def _find_member_fault(info: zipfile.ZipInfo) -> str | None:
    if info.file_size > MAX_MEMBER_BYTES:
        return f"is larger than {MAX_MEMBER_BYTES // 10**6} MB: make it smaller."
    if info.file_size > max(RATIO_EXEMPT_BYTES, MAX_COMPRESSION_RATIO * info.compress_size):
        return f"is compressed more than {MAX_COMPRESSION_RATIO} : 1, as no image is: remove it."
    if info.flag_bits & 1:
        return "is encrypted: zip the images without a password."
    return None
