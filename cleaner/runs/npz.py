"""Files of arrays: a .npz file, with facts about the arrays as JSON under the name "about"."""

import json
import lzma
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from cleaner.files import atomic_write, validate_regular
from cleaner.types import CleanerError

MAX_NPZ_BYTES = 500_000_000
"""Bytes of the arrays in a file; a real one holds a few millions at most."""
NPZ_ERRORS = (
    *(ValueError, EOFError, LookupError, TypeError, AttributeError, RuntimeError),
    *(BadZipFile, zlib.error, lzma.LZMAError),
)
"""What a damaged or edited file raises, when it is read or when its content is used: RuntimeError for an encrypted one,
an unknown compression (NotImplementedError), and values nested too deeply (RecursionError)."""


def write_npz(path: Path, about: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write arrays and the facts about them, atomically."""
    encoded = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays, about=encoded)


def read_npz(path: Path) -> tuple[Any, dict[str, Any]]:
    """Return the facts about the arrays, of any type, and the arrays; raises `NPZ_ERRORS` or `OSError`."""
    validate_regular(path)
    with ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > MAX_NPZ_BYTES:  # numpy.load reads whatever the file claims to hold
        raise CleanerError(f"{path} holds more than {MAX_NPZ_BYTES // 1_000_000} MB.")
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    return json.loads(arrays.pop("about").tobytes()), arrays
