"""Tables of image paths and captions, CSV or TSV; separator and columns are detected or given."""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from cleaner.data.pairs import PairTable
from cleaner.data.splits import SPLIT_NAMES
from cleaner.models.framing import IMAGE_SUFFIXES
from cleaner.types import CleanerError

SEPARATORS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|"}
PATH_COLUMNS = ("filepath", "file", "image", "path", "filename", "image_path", "file_name", "image_name", "img")
CAPTION_COLUMNS = ("title", "caption", "text", "captions", "description", "comment")
CLASS_COLUMNS = ("class", "class_name", "label", "category")
SPLIT_COLUMNS = ("split",)
TABLE_SUFFIXES = (".csv", ".tsv")


@dataclass(kw_only=True)
class ParsedTable:
    """A parsed table: (image, caption, class, split) per line, and the separator and columns used; "" for none."""

    separator: str
    columns: list[str]
    path_column: str
    caption_column: str
    class_column: str
    split_column: str
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    skipped_rows: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        names = {value: key for key, value in SEPARATORS.items() if len(key) > 2}
        columns = describe_columns(self.path_column, self.caption_column, self.class_column, self.split_column)
        return f"separator: {names.get(self.separator, self.separator)}; {columns}"

    def to_pair_table(self, read: Callable[[str], bytes], folder: str = "") -> PairTable:
        """Return the pairs; keys are image paths relative to `folder`, and `read` receives them."""
        table = PairTable(
            keys=[], captions=[caption for _, caption, _, _ in self.rows], read=read, skipped_rows=self.skipped_rows
        )
        table.keys = [(PurePosixPath(folder) / key).as_posix() if folder else key for key, _, _, _ in self.rows]
        if self.class_column:
            table.classes = [name for _, _, name, _ in self.rows]
        if self.split_column:
            table.splits = [split for _, _, _, split in self.rows]
        return table


def describe_columns(image: str, caption: str, class_name: str, split: str) -> str:
    """Return in words which columns of a table are used; "" for none."""
    parts = (
        f"image in {image!r}",
        f"caption in {caption!r}" if caption else "caption from the class",
        f"class in {class_name!r}" if class_name else "",
        f"split in {split!r}" if split else "",
    )
    return ", ".join(filter(None, parts))


def find_tables(folder: Path) -> list[Path]:
    """Return the tables in a folder, sorted."""
    return [file for file in sorted(folder.iterdir()) if file.suffix.lower() in TABLE_SUFFIXES]


def list_unread(tables: Iterable[Path]) -> list[str]:
    """Return a line for each table in a folder that is read as another format."""
    return [f"{file.name} is not read: for its captions give it as the data" for file in tables]


def read_table(
    lines: Iterable[str],
    name: str,
    *,
    separator: str = "",
    path_column: str = "",
    caption_column: str = "",
    class_column: str = "",
    split_column: str = "",
) -> ParsedTable:
    """Read a table with a header; columns default to open_clip's filepath and title, or similar names.

    A line needs an image and a caption, or a class, from whose name its caption is made. Raises `CleanerError` with the
    existing columns where one is missing, and for a file that is not a table in UTF-8.
    """

    def find(requested: str, defaults: Sequence[str], option: str, is_required: bool) -> str:
        return _find_column(columns, requested, defaults, option=option, table=name, is_required=is_required)

    lines = iter(lines)
    try:
        header = next(lines, "")
        delimiter = _resolve_separator(separator, header)
        reader = _read_rows(chain([header], lines), delimiter)
        columns = [column.strip() for column in next(reader, [])]
        image = find(path_column, PATH_COLUMNS, "path_column", True)
        class_name = find(class_column, CLASS_COLUMNS, "class_column", bool(class_column))
        caption = find(caption_column, CAPTION_COLUMNS, "caption_column", bool(caption_column) or not class_name)
        split = find(split_column, SPLIT_COLUMNS, "split_column", bool(split_column))
        parsed = ParsedTable(
            separator=delimiter,
            columns=columns,
            path_column=image,
            caption_column=caption,
            class_column=class_name,
            split_column=split,
        )
        positions = [columns.index(column) if column else None for column in (image, caption, class_name, split)]
        end = reader.line_num
        for row in reader:
            first, end = end + 1, reader.line_num
            _validate_quotes(row, delimiter, columns.index(image), f"line {first} of {name}", end)
            _add_row(parsed, row, positions, end)
    except UnicodeDecodeError as error:  # such as the Unicode text of Excel, which is UTF-16
        raise CleanerError(f"{name} is not in UTF-8: open it in an editor, and save it in UTF-8.") from error
    except csv.Error as error:
        raise CleanerError(f"{name} cannot be read as a table ({error}): save it as CSV.") from error
    return parsed


def _read_rows(lines: Iterable[str], delimiter: str) -> Any:
    """Return a reader of the rows. A blank may stand between a separator and a quote, as people write it."""
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter != " ")


def _resolve_separator(separator: str, header: str) -> str:
    """Return the separator character; by default the one that splits the header into most columns."""
    detected = max("\t,;|", key=lambda s: len(next(_read_rows([header], s))))
    delimiter = SEPARATORS.get(separator, separator) or detected
    if len(delimiter) != 1:
        raise CleanerError(
            f"separator={separator} is not one character: give comma, tab, semicolon, bar or a character."
        )
    return delimiter


def _validate_quotes(row: list[str], delimiter: str, image: int, where: str, end: int) -> None:
    """Raise `CleanerError` if a quote that is not closed has made a caption of further rows, which name images too."""
    if not any("\n" in field for field in row):
        return
    path = row[image].strip() if image < len(row) else ""
    # The path may be among what the quote has swallowed.
    suffix = "" if "\n" in path else PurePosixPath(path).suffix.lower()
    suffixes = (suffix,) if suffix else IMAGE_SUFFIXES
    inner = [line for field in row for line in field.splitlines()[1:]]
    for fields in _read_rows(inner, delimiter):
        if image < len(fields) and PurePosixPath(fields[image].strip()).suffix.lower() in suffixes:
            raise CleanerError(f"{where} opens a quote that is not closed before line {end}: close or remove it.")


def _add_row(parsed: ParsedTable, row: list[str], positions: Sequence[int | None], line: int) -> None:
    """Add a row, or the reason to skip it; `positions`: columns of image, caption, class and split."""
    if not row:
        return
    padded = [*row, *[""] * len(parsed.columns)]
    key, text, class_name, split_name = ("" if i is None else padded[i].strip() for i in positions)
    if not key or not (text or class_name):
        parsed.skipped_rows.append(f"line {line} has no image or no caption")
        return
    if any(map(str.strip, row[len(parsed.columns) :])):  # an unquoted comma would cut the caption
        parsed.skipped_rows.append(f"line {line} has more fields than the header: quote fields with the separator")
        return
    if parsed.split_column and split_name.lower() not in SPLIT_NAMES:
        parsed.skipped_rows.append(f"line {line} has an unknown split ({split_name[:20]!r})")
        return
    split = SPLIT_NAMES[split_name.lower()] if parsed.split_column else ""
    parsed.rows.append((key, " ".join(text.split()), class_name, split))


def _find_column(
    columns: list[str], requested: str, defaults: Sequence[str], *, option: str, table: str, is_required: bool
) -> str:
    """Return the requested column, else the first of `defaults`; "" if there is none and none is required."""
    by_lower = {column.lower(): column for column in reversed(columns)}
    for candidate in [requested] if requested else defaults:
        if candidate.lower() in by_lower:
            return by_lower[candidate.lower()]
    if not is_required:
        return ""
    if urls := [column for column in columns if "://" in column]:  # as in the files of Conceptual Captions
        raise CleanerError(
            f"{table} has no header and lists images on the network ({urls[0]}): download them, and list the files "
            "under a header, such as filepath and title."
        )
    missing = f"no column {requested!r}" if requested else f"no column named like {defaults[0]!r}"
    raise CleanerError(f"{table} has {missing}; its columns are {', '.join(columns[:12]) or 'none'}: set {option}=...")
