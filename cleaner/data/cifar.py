"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): photos of 32 px, from torchvision's files or from JPEGs in two tars."""

import csv
import errno
import io
import tarfile
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from os.path import isfile  # pathlib's is_file raises for a long name or a folder without permission
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
import platformdirs
from PIL import Image
from torchvision import datasets

from cleaner.access import validate_allowed
from cleaner.data.base import DATASETS
from cleaner.data.download import download_archive
from cleaner.data.pairs import TAR_ERRORS, FileData, PairTable
from cleaner.data.photo_captions import describe_photos
from cleaner.files import file_version, read_limited, write_error
from cleaner.seed import derive_seed
from cleaner.types import CleanerError, OnStep, start_progress

VALIDATION_SHARE = 0.1
"""Share of the training photos of each class that is the validation split."""
MAX_TABLE_BYTES, MAX_PHOTO_BYTES = 100_000_000, 1_000_000
READ_CHUNK = 2000
"""Photos per progress report of the reading."""
READING = "read photos"
TAR_FILES = ("train.tar", "test.tar", "captions.csv", "captions_test.csv")
Photo = tuple[str, str, str, "bytes | np.ndarray"]
"""Key, class, caption, and the file's content or the pixels (H, W, 3)."""


@DATASETS.register("cifar10")
class Cifar10(FileData):
    """`cifar10`, or `cifar10:/folder`; `download=true` fetches the files (170 MB).

    The folder holds torchvision's files, or train.tar, test.tar, captions.csv and captions_test.csv, whose members are
    SPLIT/CLASS/NUMBER.jpg; without a path it is the user's own, with the tars in its folder cifar10. Photos are
    numbered by their order in the class, so both layouts have the same splits. A tenth of the training photos of each
    class is the validation split.
    """

    label: ClassVar[str] = "CIFAR-10 photos"
    dataset_name: ClassVar[str] = "CIFAR10"
    download_mb: ClassVar[int] = 170

    def __init__(
        self, path: str = "", download: bool = False, on_step: OnStep | None = None, **file_options: Any
    ) -> None:
        name = self.dataset_name.lower()
        root = Path(path) if path else photos_root()
        tars = root if path else root / name
        has_tars = isfile(tars / "train.tar") and not download
        files = [tars / file for file in TAR_FILES] if has_tars else self._list_files(root)
        for file in files if path else ():  # without a path they are in the user's own folder
            validate_allowed(file)

        def read() -> PairTable:
            return _build_table(_read_tars(tars, on_step) if has_tars else self._read_files(root, download, on_step))

        if download and not all(map(isfile, self._list_files(root))):
            download_archive(self.dataset_name, root, on_step)  # torchvision would print a bar
        table = _keep_table((name, *((str(file), file_version(file)) for file in files)), read)
        super().__init__(table, f"{name}:{root.resolve()}" if path else name, on_step=on_step, **file_options)

    @classmethod
    def is_downloaded(cls) -> bool:
        """Return whether the photos are in the user's folder."""
        root = photos_root()
        has_files = all(file.is_file() for file in cls._list_files(root))  # extraction may be interrupted
        return has_files or (root / cls.dataset_name.lower() / "train.tar").is_file()

    @classmethod
    def _list_files(cls, root: Path) -> list[Path]:
        """Return torchvision's files."""
        source = getattr(datasets, cls.dataset_name)
        names = [name for name, _ in (*source.train_list, *source.test_list)] + [source.meta["filename"]]
        return [root / source.base_folder / name for name in names]

    def _read_files(self, root: Path, download: bool, on_step: OnStep | None) -> Iterator[Photo]:
        """Yield the photos in torchvision's files."""
        for split in ("train", "test"):
            try:
                source = getattr(datasets, self.dataset_name)(
                    str(root), train=split == "train", download=bool(download)
                )
            except (RuntimeError, OSError) as error:
                cause = getattr(error, "reason", error)  # of urllib's errors
                reason = getattr(cause, "strerror", None) or str(cause).partition("\n")[0]
                example = f"{self.dataset_name.lower()}:/folder"
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # the archive was being unpacked
                    remedy = f"Free disk space there, or give a folder that has the files, as in {example}."
                    raise write_error(root, error, remedy) from error
                raise CleanerError(
                    f"{self.dataset_name} was not downloaded ({reason}): check the connection, or give a folder that "
                    f"has it, as in {example}."
                    if download
                    else f"{self.dataset_name} is not in {root} ({reason}): give its folder, as in {example}, or add "
                    "download=true."
                ) from error
            numbers: Counter[str] = Counter()
            names, keys = [source.classes[label].replace("_", " ") for label in source.targets], []
            for name in names:
                keys.append(f"{split}/{name}/{numbers[name]:04d}")
                numbers[name] += 1
            report = start_progress(on_step, READING, len(keys))
            for start in range(0, len(keys), READ_CHUNK):
                report(start)
                chunk = slice(start, start + READ_CHUNK)
                captions = describe_photos(keys[chunk], names[chunk], source.data[chunk])
                yield from zip(keys[chunk], names[chunk], captions, source.data[chunk], strict=True)
            report(len(keys))


@DATASETS.register("cifar100")
class Cifar100(Cifar10):
    """`cifar100` or `cifar100:/folder`, as `cifar10`."""

    label: ClassVar[str] = "CIFAR-100 photos"
    dataset_name: ClassVar[str] = "CIFAR100"
    download_mb: ClassVar[int] = 169


def photos_root() -> Path:
    """Return the folder of downloaded photos."""
    return Path(platformdirs.user_data_dir("ta-cleaner-lab")) / "datasets"


_lock = threading.Lock()
_tables: dict[tuple[object, ...], PairTable] = {}


def _keep_table(key: tuple[object, ...], read: Callable[[], PairTable]) -> PairTable:
    """Return the table of a key, read once for all splits: it holds 60,000 photos. Only the last one is kept."""
    with _lock:
        if key not in _tables:
            _tables.clear()
            _tables[key] = read()
        return _tables[key]


def _build_table(photos: Iterable[Photo]) -> PairTable:
    contents: dict[str, bytes | np.ndarray] = {}

    def read(key: str) -> bytes | Image.Image:
        content = contents[key]
        return content if isinstance(content, bytes) else Image.fromarray(content)

    table, classes = PairTable(keys=[], captions=[], read=read), []
    for key, class_name, caption, content in photos:
        contents[key] = content
        table.keys.append(key)
        table.captions.append(caption)
        classes.append(class_name)
    table.classes, table.class_names = classes, list(dict.fromkeys(sorted(classes)))
    table.splits = _assign_splits(table)
    return table


def _assign_splits(table: PairTable) -> list[str]:
    """Return the split of each photo: its folder's, but validation for a tenth of the training photos of each class."""
    training: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for key, class_name in zip(table.keys, table.classes or (), strict=True):
        if key.startswith("train/"):
            training[class_name].append((derive_seed("validation", key), key))
    held_out = {
        key for photos in training.values() for _, key in sorted(photos)[: round(VALIDATION_SHARE * len(photos))]
    }
    return ["validation" if key in held_out else key.partition("/")[0] for key in table.keys]


def _read_tars(root: Path, on_step: OnStep | None) -> Iterator[Photo]:
    """Yield the photos in train.tar and test.tar with the captions of their tables."""
    for split, table_name in (("train", "captions.csv"), ("test", "captions_test.csv")):
        try:
            text = read_limited(root / table_name, MAX_TABLE_BYTES).decode("utf-8-sig")
            captions = {row["filepath"]: " ".join(row["title"].split()) for row in csv.DictReader(io.StringIO(text))}
            with tarfile.open(root / f"{split}.tar", "r:") as archive:
                report = start_progress(on_step, READING, len(captions))
                for done, member in enumerate(archive):
                    if done % READ_CHUNK == 0:
                        report(min(done, len(captions)))
                    archive.members = []  # type: ignore[attr-defined]  # keep no headers in memory
                    is_photo = member.name in captions and member.size <= MAX_PHOTO_BYTES
                    file = archive.extractfile(member) if is_photo else None
                    if file is not None:
                        name = PurePosixPath(member.name).parent.name.replace("_", " ")
                        key = member.name.rpartition(".")[0].replace("_", " ")  # as `_read_files` names it
                        yield key, name, captions[member.name], file.read()
                report(len(captions))
        except (*TAR_ERRORS, KeyError, AttributeError, csv.Error) as error:
            raise CleanerError(
                f"{root} has a train.tar, but its photos cannot be read ({type(error).__name__}): it needs train.tar, "
                "test.tar, captions.csv and captions_test.csv with the columns filepath and title."
            ) from error
