"""A CSV or TSV table of image paths and captions, by default with open_clip's filepath and title."""

import os
import unicodedata
from pathlib import Path, PureWindowsPath
from typing import Any

from cleaner.data.base import DATASETS
from cleaner.data.pairs import FileData, read_image
from cleaner.data.table import TABLE_SUFFIXES, read_table
from cleaner.files import validate_regular
from cleaner.types import CleanerError


@DATASETS.register("csv")
class CsvData(FileData):
    """`csv:/path/pairs.csv`; image paths are relative to `root`, by default the table's own folder.

    Absolute paths that are not there, as of another machine, are looked up below a given `root` without outer folders.

    `separator` (comma, tab, semicolon, bar), `path_column`, `caption_column`, `class_column` and `split_column` are
    detected unless given; `format_summary` says what was detected.
    """

    def __init__(
        self,
        path: str = "",
        *,
        root: str = "",
        separator: str = "",
        path_column: str = "",
        caption_column: str = "",
        class_column: str = "",
        split_column: str = "",
        **file_options: Any,
    ) -> None:
        file = Path(path)
        try:
            validate_regular(path)
            with file.open(encoding="utf-8-sig", newline="") as lines:
                parsed = read_table(
                    lines,
                    path,
                    separator=separator,
                    path_column=path_column,
                    caption_column=caption_column,
                    class_column=class_column,
                    split_column=split_column,
                )
        except (OSError, ValueError) as error:  # ValueError: an impossible name
            if isinstance(error, CleanerError):
                raise
            raise CleanerError(f"there is no table {path!r}: give one, as in csv:/folder/pairs.csv.") from error
        self.format_summary = str(parsed)
        folder = Path(root) if root else file.parent
        table = parsed.to_pair_table(lambda key: read_image(_find_file(folder, key, is_moved=bool(root))))
        urls = [key for key in table.keys if "://" in key]
        if urls:
            raise CleanerError(f"{path} lists images on the network ({urls[0]}): download them, and list the files.")
        table.images = _merge_spellings(folder, table.keys)
        super().__init__(table, f"csv:{file.resolve()}", **file_options)

    @staticmethod
    def recognizes(path: Path) -> bool:
        return path.suffix.lower() in TABLE_SUFFIXES


def _merge_spellings(folder: Path, keys: list[str]) -> list[str]:
    """Return for each path the first one in the table that names the same file, such as "1.png" for "./1.png"."""
    first: dict[str, str] = {}
    start = os.path.abspath(folder)
    return [first.setdefault(os.path.normpath(os.path.join(start, key.replace("\\", "/"))), key) for key in keys]


def _find_file(folder: Path, key: str, *, is_moved: bool) -> Path:
    """Return the file that a table names, also as on Windows or in another form of Unicode."""
    forward = key.replace("\\", "/")
    spellings = [key, forward, *(unicodedata.normalize(form, forward) for form in ("NFC", "NFD"))]
    if is_moved and (forward.startswith("/") or PureWindowsPath(forward).drive):
        inner = PureWindowsPath(forward).parts[1:]
        spellings += ["/".join(inner[start:]) for start in range(len(inner))]
    # Not Path.is_file: it raises for an overlong name.
    return next((folder / name for name in spellings if os.path.isfile(folder / name)), folder / key)
