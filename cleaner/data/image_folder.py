"""A folder with one folder of images per class (torchvision's ImageFolder); captions from templates."""

from itertools import chain
from os.path import isdir
from pathlib import Path
from typing import Any

from cleaner.data.base import DATASETS
from cleaner.data.class_folders import is_hidden, tabulate_class_folders
from cleaner.data.pairs import FileData, PairTable, read_image
from cleaner.data.splits import find_split
from cleaner.data.table import find_tables, list_unread
from cleaner.models.framing import IMAGE_SUFFIXES
from cleaner.types import CleanerError

MAX_OTHER_FILES = 200_000
"""Files and folders without an image, before a folder with few images, such as a whole disk, is refused."""


@DATASETS.register("image_folder")
class ImageFolderData(FileData):
    """`image_folder:/path`; top folders named train, val and test, or training_set and test_set, are its splits.

    Class names are the folders' names. ImageNet's thousand folders get their names in words; for other codes set
    `classes`, in the order of the folders.
    """

    def __init__(self, path: str = "", **file_options: Any) -> None:
        root = Path(path)
        if not path or not isdir(root):  # not Path.is_dir: it raises for an overlong name
            raise CleanerError(f"there is no folder {path!r}: give one, as in image_folder:/folder/images.")
        try:
            table = _tabulate(root)
        except OSError as error:  # a folder without permission, or one that was deleted meanwhile
            raise CleanerError(f"{root} cannot be read ({error.strerror}): check its folders and links.") from error
        super().__init__(table, f"image_folder:{root.resolve()}", **file_options)

    @staticmethod
    def recognizes(path: Path) -> bool:
        return path.is_dir() and not any(any(path.glob(f"*{suffix}")) for suffix in (".tar", ".parquet", ".arrow"))


def _tabulate(root: Path) -> PairTable:
    """Return the images in the class folders of `root`, or of its folders of splits."""
    keys: list[str] = []
    others = 0
    for top in _list_subfolders(root):
        files = [top.rglob("*")]
        if find_split(top.name):  # rglob follows a link only where it starts; classes may be links
            files = [top.iterdir(), *(folder.rglob("*") for folder in _list_subfolders(top))]
        for file in chain(*files):
            if file.suffix.lower() in IMAGE_SUFFIXES:
                keys.append(file.relative_to(root).as_posix())
            elif (others := others + 1) > max(MAX_OTHER_FILES, 10 * len(keys)):
                raise CleanerError(f"{root} holds few images among many other files: give the folder of the images.")
    table = tabulate_class_folders(keys, lambda key: read_image(root / key))
    tables = find_tables(root)
    if tables and len(set(table.classes or ())) < 2:
        raise CleanerError(f"{root} has no class folders, but a table: give that as the data, {tables[0]}.")
    loose = sum(not is_hidden([file.name]) and file.suffix.lower() in IMAGE_SUFFIXES for file in root.iterdir())
    if loose:  # not among the keys: however many, they say nothing about the folders
        table.skipped_rows.append(f"outside of folders: {loose:,} without a class")
    table.skipped_rows += list_unread(tables)
    return table


def _list_subfolders(folder: Path) -> list[Path]:
    return sorted(inner for inner in folder.iterdir() if inner.is_dir() and not inner.name.startswith("."))
