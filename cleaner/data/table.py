"""Tables of pictures and captions: CSV and TSV, separator and columns found by themselves or named."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import PurePosixPath

from cleaner.data.naming import SPLIT_NAMES
from cleaner.data.pairs import PairTable
from cleaner.types import CleanerError

SEPARATORS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|"}
PATH_COLUMNS = ("filepath", "file", "image", "path", "filename", "image_path", "file_name", "image_name", "img")
CAPTION_COLUMNS = ("title", "caption", "text", "captions", "description", "comment")
CLASS_COLUMNS = ("class", "class_name", "label", "category")
SPLIT_COLUMNS = ("split",)


@dataclass
class ParsedTable:
    """A table that was read: (picture, caption, class, split) per line, and how it was understood."""

    separator: str
    columns: list[str]
    path_column: str
    caption_column: str
    class_column: str | None
    split_column: str | None
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    skipped_rows: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        names = {value: key for key, value in SEPARATORS.items() if len(key) > 2}
        known = f", class in {self.class_column!r}" if self.class_column else ""
        known += f", split in {self.split_column!r}" if self.split_column else ""
        return (
            f"separator: {names.get(self.separator, self.separator)}; picture in {self.path_column!r}, "
            f"caption in {self.caption_column!r}{known}"
        )

    def to_pair_table(self, read: Callable[[str], bytes], folder: str = "") -> PairTable:
        """Return the pairs; pictures are named from `folder`, and `read` gets these names."""
        table = PairTable([], [caption for _, caption, _, _ in self.rows], read, skipped_rows=self.skipped_rows)
        table.keys = [(PurePosixPath(folder) / key).as_posix() if folder else key for key, _, _, _ in self.rows]
        if self.class_column:
            table.classes = [name for _, _, name, _ in self.rows]
        if self.split_column:
            table.splits = [split for _, _, _, split in self.rows]
        return table


def read_table(
    lines: Iterable[str],
    name: str,
    separator: str = "",
    path_column: str = "",
    caption_column: str = "",
    class_column: str = "",
    split_column: str = "",
) -> ParsedTable:
    """Read a table with a header line. Default columns are open_clip's, filepath and title, or words like them.

    A split is train, val, validation or test. Raises `CleanerError` with the columns that are there where they cannot
    be told.
    """
    lines = iter(lines)
    try:
        header = next(lines, "")
        sign = SEPARATORS.get(separator, separator) or max(
            "\t,;|", key=lambda s: len(next(csv.reader([header], delimiter=s)))
        )
        if len(sign) != 1:
            raise CleanerError(f"separator={separator} is not one sign: give comma, tab, semicolon, bar or a sign.")
        reader = csv.reader(chain([header], lines), delimiter=sign)
        columns = [column.strip() for column in next(reader, [])]
        found = ParsedTable(
            sign,
            columns,
            _find_column(columns, path_column, PATH_COLUMNS, "path_column", name),
            _find_column(columns, caption_column, CAPTION_COLUMNS, "caption_column", name),
            _find_column(columns, class_column, CLASS_COLUMNS, "class_column", name, is_required=bool(class_column))
            or None,
            _find_column(columns, split_column, SPLIT_COLUMNS, "split_column", name, is_required=bool(split_column))
            or None,
        )
        where = [columns.index(found.path_column), columns.index(found.caption_column)]
        where += [columns.index(c) if c else where[0] for c in (found.class_column, found.split_column)]
        for row in reader:
            if len(row) <= max(where) or not row[where[0]].strip() or not row[where[1]].strip():
                if row:
                    found.skipped_rows.append(f"line {reader.line_num} has no picture or no caption")
                continue
            if any(map(str.strip, row[len(columns) :])):  # cut at its comma, a caption would lose its end
                found.skipped_rows.append(
                    f"line {reader.line_num} has more fields than the header: quote what holds the separator"
                )
                continue
            key, text, kind, part = (row[place].strip() for place in where)
            if found.split_column and part.lower() not in SPLIT_NAMES:
                found.skipped_rows.append(f"line {reader.line_num} is of no split known here ({part[:20]!r})")
                continue
            split = SPLIT_NAMES[part.lower()] if found.split_column else ""
            found.rows.append((key, " ".join(text.split()), kind, split))
    except (csv.Error, UnicodeDecodeError) as error:
        raise CleanerError(f"{name} cannot be read as a table ({error}): save it as CSV in UTF-8.") from error
    return found


def _find_column(
    columns: list[str], requested: str, default_names: Sequence[str], option: str, name: str, is_required: bool = True
) -> str:
    lower = {column.lower(): column for column in reversed(columns)}
    for candidate in [requested] if requested else default_names:
        if candidate.lower() in lower:
            return lower[candidate.lower()]
    if not is_required:
        return ""
    looked = f"no column {requested!r}" if requested else f"no column named like {default_names[0]!r}"
    raise CleanerError(
        f"{name} has {looked}; its columns are {', '.join(columns[:12]) or 'none'}: name it with {option}=..."
    )
