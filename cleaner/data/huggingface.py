"""Parquet and Arrow files, and data sets of the Hugging Face hub, through the package `datasets`.

Rows are memory-mapped from its cache: a data set takes disk, not memory, whatever its size. The hub's own copies are
read as a stream and cut after `max_pairs`. Tested on local files; not yet tried against the hub itself.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cleaner.access import validate_allowed
from cleaner.data.base import DATASETS
from cleaner.data.naming import pick_caption
from cleaner.data.pairs import FileData, PairTable, read_image
from cleaner.data.splits import SPLIT_NAMES, find_split
from cleaner.data.table import CAPTION_COLUMNS, CLASS_COLUMNS, PATH_COLUMNS, SPLIT_COLUMNS, describe_columns
from cleaner.files import cache_root, read_json, write_json
from cleaner.types import CleanerError, first_line

TABLE_FORMATS = {".parquet": "parquet", ".arrow": "arrow"}
IMAGE_COLUMNS = (*PATH_COLUMNS, "images", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes")
TEXT_COLUMNS = (*CAPTION_COLUMNS, "txt", "sentence", "sentences", "alt_text", "prompt", "raw")
MAX_STREAMED_PAIRS = 100_000
"""Pairs that are fetched from the hub unless `max_pairs` says otherwise."""
HUB_FILE = re.compile(r"(zip://[^:]*::)?hf://[^:]*")
"""Address of a file on the hub, or in an archive there: nothing else is fetched, whatever the rows name."""
COLUMN_BATCH = 10_000
"""Rows of captions that are read at once."""
TEXT_TYPES = ("string", "large_string")
INSTALL = "pip install datasets"


class HubRows(FileData):
    """Pairs whose rows are in tables of the package `datasets`, one table for each split."""

    def __init__(
        self,
        tables: Mapping[str, Any],
        name: str,
        folder: Path,
        /,
        *,
        image_column: str = "",
        caption_column: str = "",
        class_column: str = "",
        **file_options: Any,
    ) -> None:
        columns = _find_columns(next(iter(tables.values())).features, name, image_column, caption_column, class_column)
        self.format_summary = describe_columns(columns.image, columns.caption, columns.class_name, columns.split)
        # A file states the types of its columns. `datasets` would decode images of any format, and fetch those on the
        # hub, in a column of captions, too; as Arrow, a row stays what the file holds.
        tables = {split: table.with_format("arrow") for split, table in tables.items()}
        with _explain_errors(name):
            pairs = _tabulate(tables, columns, folder)
        super().__init__(pairs, name, **file_options)


@DATASETS.register("parquet")
class ParquetData(HubRows):
    """`parquet:/path/pairs.parquet`, an .arrow file, or a folder of either; needs the package `datasets`.

    A file whose name states train, validation or test is that split, as is a row with it in a column `split`.
    `image_column` (files in the table, or paths relative to it), `caption_column` and `class_column` are detected
    unless given.
    """

    def __init__(self, path: str = "", **file_options: Any) -> None:
        files = _list_files(Path(path)) if path else []  # of "" it would be the current folder
        if not files:
            raise CleanerError(
                f"there is no .parquet or .arrow file {path!r}: give one, as in parquet:/folder/pairs.parquet."
            )
        kinds = {TABLE_FORMATS[file.suffix.lower()] for file in files}
        if len(kinds) > 1:
            raise CleanerError(f"{path} mixes .parquet and .arrow files: give a folder of one kind.")
        by_split: dict[str, list[str]] = {}
        for file in files:
            validate_allowed(file)
            by_split.setdefault(find_split(file.stem) or "train", []).append(str(file.resolve()))
        tables = _load(kinds.pop(), path, data_files=by_split)
        folder = Path(path) if Path(path).is_dir() else Path(path).parent
        super().__init__(tables, f"parquet:{Path(path).resolve()}", folder, **file_options)

    @staticmethod
    def recognizes(path: Path) -> bool:
        # img2dataset writes a table of metadata next to each shard.
        return bool(_list_files(path)) and not (path.is_dir() and any(path.glob("*.tar")))


@DATASETS.register("hf")
class HubData(HubRows):
    """`hf:org/name`: a data set of the Hugging Face hub; needs the package `datasets`, and the network once.

    Streams the first `max_pairs` rows of each split to the cache folder, and reads them from there if the hub cannot be
    reached, or with `download=false`; `config` names one of the data set's configurations. The columns as for
    `parquet`. Runs no code of the data set.
    """

    is_remote = True
    """The part behind "hf:" is no path."""

    def __init__(
        self,
        path: str = "",
        *,
        config: str = "",
        max_pairs: int = MAX_STREAMED_PAIRS,
        download: bool = True,
        **file_options: Any,
    ) -> None:
        # `datasets` takes a folder here, or the name of one of its own readers, before it asks the hub.
        if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", path):
            raise CleanerError(f"{path!r} is not the name of a data set on the hub: give one, as in hf:org/name.")
        if os.path.exists(path):
            raise CleanerError(f"{path} is a folder here: give its path without hf:, or start from another folder.")
        if max_pairs < 1:
            raise CleanerError(f"max_pairs must be at least 1, not {max_pairs}.")
        key = _import_datasets().fingerprint.Hasher.hash([path, config, max_pairs])
        index = _cache_folder() / f"{key}.json"
        try:
            if not download:
                options = [f"config={config}"] * bool(config)
                options += [f"max_pairs={max_pairs}"] * (max_pairs != MAX_STREAMED_PAIRS)
                raise CleanerError(
                    f"hf:{path} is not on this machine, and a run downloads no data: load them once by their name, as "
                    f"in python -m cleaner inspect {' '.join([f'hf:{path}', *options])}"
                )
            streams = _load(path, path, name=config or None, streaming=True)
        except CleanerError:
            tables = _open_stored(index)
            if not tables:
                raise
        else:
            with _explain_errors(path):
                tables = {split: store_stream(rows, f"{path} {config}", max_pairs) for split, rows in streams.items()}
            write_json(
                index, {split: [file["filename"] for file in rows.cache_files] for split, rows in tables.items()}
            )
        super().__init__(tables, f"hf:{path}", Path(), **file_options)


def _list_files(path: Path) -> list[Path]:
    """Return the .parquet and .arrow files at a path: the file itself, or those in the folder."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        return [
            file for file in files if file.suffix.lower() in TABLE_FORMATS and file.is_file() and file.name[0] != "."
        ]
    except OSError:  # a name that is too long
        return []


def _import_datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise CleanerError(f"parquet, arrow and hf: data need the package datasets: {INSTALL}.") from error
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # else every file that is opened is counted over the network
    return datasets


def _load(builder: str, path: str, **options: Any) -> Mapping[str, Any]:
    """Return split -> table (or stream). Raises `CleanerError` if `datasets` cannot read it."""
    datasets = _import_datasets()
    datasets.disable_progress_bars()
    with _explain_errors(path):
        return dict(datasets.load_dataset(builder, cache_dir=str(_cache_folder()), **options))


@contextmanager
def _explain_errors(path: str) -> Iterator[None]:
    """Turn the errors of `datasets` into a `CleanerError`."""
    try:
        yield
    except Exception as error:  # pyarrow's, fsspec's, the hub's: they share no base class
        is_wrapped = isinstance(error, _import_datasets().exceptions.DatasetGenerationError)
        cause = error.__cause__ if is_wrapped and isinstance(error.__cause__, Exception) else error
        raise CleanerError(
            f"{path} cannot be read ({type(cause).__name__}: {first_line(cause)}): check the name, the network and "
            "the files."
        ) from error


def _cache_folder() -> Path:
    return cache_root() / "huggingface"


def store_stream(stream: Any, name: str, max_pairs: int) -> Any:
    """Return the first rows of a stream as a table on disk, written in batches; reused by the next call."""
    datasets = _import_datasets()
    stream = stream.decode(False) if stream.features else stream  # see HubRows
    images = [column for column, feature in (stream.features or {}).items() if isinstance(feature, datasets.Image)]

    def rows(name: str, split: str, max_pairs: int) -> Iterator[dict[str, Any]]:
        for row in stream.take(max_pairs):
            yield {**row, **{column: _fetch(row[column]) for column in images}}

    return datasets.Dataset.from_generator(
        rows,
        features=stream.features,
        cache_dir=str(_cache_folder()),
        gen_kwargs={"name": name, "split": str(stream.split), "max_pairs": max_pairs},
        fingerprint=datasets.fingerprint.Hasher.hash([name, str(stream.split), max_pairs]),
    )


def _open_stored(index: Path) -> dict[str, Any]:
    """Return split -> table of streams that were stored before; empty if a file of them is missing."""
    datasets, stored = _import_datasets(), read_json(index)
    if not all(Path(file).is_file() for files in stored.values() for file in files):
        return {}
    return {
        split: datasets.concatenate_datasets([datasets.Dataset.from_file(file) for file in files])
        for split, files in stored.items()
    }


def _fetch(image: Any) -> Any:
    """Return an image with its bytes: a data set of image files has only their addresses on the hub."""
    if not isinstance(image, dict) or image.get("bytes") or not HUB_FILE.fullmatch(image.get("path") or ""):
        return image
    with _import_datasets().utils.file_utils.xopen(image["path"], "rb") as file:
        return {**image, "bytes": file.read()}


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """The columns of a table that hold images, captions, classes and splits; "" for none."""

    image: str
    caption: str
    class_name: str
    class_names: list[str] | None
    split: str


def _find_columns(features: Mapping[str, Any], name: str, image: str, caption: str, class_name: str) -> _Columns:
    """Return the columns that were named, else those that look right. Raises `CleanerError` that lists them."""
    datasets = _import_datasets()
    listed = ", ".join(list(features)[:12])
    for option, column in (("image_column", image), ("caption_column", caption), ("class_column", class_name)):
        if column and column not in features:
            raise CleanerError(f"{name} has no column {column!r}; its columns are {listed}: set {option}=...")
    typed = [column for column, feature in features.items() if isinstance(feature, datasets.Image)]
    image = image or next(iter([*typed, *_named(features, IMAGE_COLUMNS)]), "")
    classes = [column for column, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    class_name = class_name or next(iter([*classes, *_named(features, CLASS_COLUMNS)]), "")
    caption = caption or next(iter(_named(features, TEXT_COLUMNS)), "")
    if not image or not (caption or class_name):
        missing, option = ("images", "image_column") if not image else ("captions", "caption_column")
        raise CleanerError(
            f"{name} has no column that looks like {missing}; its columns are {listed}: set {option}=..."
        )
    names = [str(name) for name in features[class_name].names] if class_name in classes else None
    texts = [column for column, feature in features.items() if getattr(feature, "dtype", "") in TEXT_TYPES]
    return _Columns(
        image=image,
        caption=caption,
        class_name=class_name,
        class_names=names,
        split=next(iter(_named(texts, SPLIT_COLUMNS)), ""),
    )


def _named(features: Iterable[str], names: Iterable[str]) -> list[str]:
    by_lower = {column.lower(): column for column in features}
    return [by_lower[name] for name in names if name in by_lower]


def _tabulate(tables: Mapping[str, Any], columns: _Columns, folder: Path) -> PairTable:
    """Return the pairs of all splits; captions and classes are read in batches, images when they are needed."""
    images = {split: table.select_columns([columns.image]) for split, table in tables.items()}

    def read(key: str) -> bytes:
        split, _, row = key.rpartition("/")
        with _explain_errors(key):
            value = images[split][int(row)][columns.image][0].as_py()
        return _read_image(value, folder, key)

    pairs = PairTable(
        keys=[], captions=[], read=read, classes=[] if columns.class_name else None, class_names=columns.class_names
    )
    splits: list[str] = []
    has_paths = getattr(next(iter(tables.values())).features[columns.image], "dtype", "") in TEXT_TYPES
    if has_paths:  # a row per caption: the rows of an image must share a split
        pairs.images = []
    read_columns = (columns.caption, columns.class_name, columns.split, columns.image if has_paths else "")
    for split, table in tables.items():
        texts = table.select_columns(list(dict.fromkeys(filter(None, read_columns))))
        split_of_table = find_split(split) or "train"
        for row, values in enumerate(_iterate(texts)):
            key, class_name = f"{split}/{row}", _class_of(values, columns)
            caption = _caption_of(values.get(columns.caption), key)
            if not caption and not class_name:
                pairs.skipped_rows.append(f"{key} has no caption")
                continue
            own_split = SPLIT_NAMES.get(str(values[columns.split]).lower()) if columns.split else split_of_table
            if own_split is None:
                pairs.skipped_rows.append(f"{key} has an unknown split ({str(values[columns.split])[:20]!r})")
                continue
            pairs.keys.append(key)
            pairs.captions.append(caption)
            splits.append(own_split)
            if pairs.images is not None:
                pairs.images.append(str(values[columns.image]))
            if pairs.classes is not None:
                pairs.classes.append(class_name)
    if columns.split or {"train"} < set(splits):  # the only split of a set is divided, whatever its name
        pairs.splits = splits
    return pairs


def _iterate(table: Any) -> Iterator[dict[str, Any]]:
    for start in range(0, len(table), COLUMN_BATCH):
        yield from table[start : start + COLUMN_BATCH].to_pylist()


def _class_of(values: Mapping[str, Any], columns: _Columns) -> str:
    value = values.get(columns.class_name)
    if columns.class_names is not None and isinstance(value, int):
        return columns.class_names[value] if 0 <= value < len(columns.class_names) else ""
    return str(value) if isinstance(value, (str, int, float)) and value == value else ""  # a list: several; NaN: none


def _caption_of(value: Any, key: str) -> str:
    """Return a caption: the text, or one of several, in fields named as columns of captions; "" if there is none."""
    if isinstance(value, dict):
        value = next((value[name] for name in TEXT_COLUMNS if value.get(name)), None)
    if isinstance(value, list):
        texts = [text for item in value if (text := _caption_of(item, key))]
        value = pick_caption(texts, key) if texts else ""
    return " ".join(str(value or "").split())


def _read_image(value: Any, folder: Path, key: str) -> bytes:
    """Return the bytes of an image: those in the table, or of the file that it names."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str) or not value:
        raise CleanerError(f"{key} holds no image: name another column with image_column=...")
    if "://" in value:
        raise CleanerError(f"{key} is on the network ({value[:80]}): download the images, and store them in the table.")
    return read_image(folder / value)
