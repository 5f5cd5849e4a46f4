"""A CSV or TSV table with pictures beside it, in open_clip's convention (filepath, title) or with columns named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cleaner.data.base import DATASETS
from cleaner.data.pairs import FileData, read_limited
from cleaner.data.table import read_table
from cleaner.types import CleanerError


@DATASETS.register("csv")
class CsvData(FileData):
    """`csv:/path/pairs.csv`; pictures are looked for from `root`, by default the table's own folder.

    `separator` (comma, tab, semicolon, bar), `path_column`, `caption_column`, `class_column` and `split_column` are
    found by themselves where they are not given; `understood` says what was found.
    """

    def __init__(
        self,
        path: str = "",
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
            with file.open(encoding="utf-8-sig", newline="") as lines:
                found = read_table(lines, path, separator, path_column, caption_column, class_column, split_column)
        except OSError as error:
            raise CleanerError(f"there is no table {path!r}: name one, as in csv:/folder/pairs.csv.") from error
        self.format_summary = str(found)
        folder = Path(root) if root else file.parent
        table = found.to_pair_table(lambda key: read_limited(folder / key))
        addresses = [key for key in table.keys if "://" in key]
        if addresses:
            raise CleanerError(f"{path} names pictures on the network ({addresses[0]}): fetch them first, name files.")
        super().__init__(table, f"csv:{file.resolve()}", **file_options)

    @staticmethod
    def recognizes(path: Path) -> bool:
        return path.suffix.lower() in (".csv", ".tsv")
