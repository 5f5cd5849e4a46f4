"""Writing files so that a reader sees the old or the new content, never a part; the one place that does it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import platformdirs

from cleaner.types import CleanerError

REMEDY = "Make room there, or choose another place: by --out, or for all runs by the variable CLEANER_RUNS."


def cache_root() -> Path:
    """Return where what can be made again lies: the environment variable CLEANER_CACHE, else the user's cache."""
    return Path(os.environ.get("CLEANER_CACHE") or platformdirs.user_cache_dir("ta-cleaner-lab"))


def source_root() -> Path:
    """Return the folder that holds the package: the repository's root, or site-packages."""
    return Path(__file__).resolve().parent.parent


def shipped_assets() -> Path:
    """Return the folder of the files that come with the project: models, example run, lexicon, SSBA encoder."""
    return source_root() / "assets"


def assets() -> Path:
    """Return the folder of the built-in models and the example run: CLEANER_ASSETS, else the shipped one."""
    return Path(os.environ.get("CLEANER_ASSETS") or shipped_assets())


@contextmanager
def atomic_write(path: Path, remedy: str = REMEDY) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which takes its place when the block ends well and is removed when not.

    Raises `CleanerError` with `remedy` if the disk is full, read-only or gone.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise CleanerError(f"{path} cannot be written ({error.strerror or error}). {remedy}") from error
    finally:
        with suppress(OSError):  # what made the write fail may hold here too, and is the better message
            temporary.unlink(missing_ok=True)


def resolve_path(name: str) -> str:
    """Return a path, or a "kind:path", with the path made absolute where it exists: it then means the same anywhere."""
    prefix, _, rest = name.partition(":")
    if os.path.exists(name):  # unlike pathlib's, it takes a list of classes, longer than any name
        return str(Path(name).resolve())
    return f"{prefix}:{Path(rest).resolve()}" if rest and os.path.exists(rest) else name


def write_text(path: Path, text: str) -> None:
    """Write a text file, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically."""
    write_text(path, json.dumps(value, indent=1))


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty if the file is missing, unreadable or holds something else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


FileVersion = tuple[int, int, int]
"""Modification time in ns, size and inode: a file that was replaced has another inode."""


def file_version(path: str | Path) -> FileVersion | None:
    """Return what changes when a file is written or replaced; None if there is no such file."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def read_json_cached(path: Path) -> dict[str, Any]:
    """Return what `read_json` does, without opening a file that has not changed since. Do not change the dictionary."""
    version = file_version(path)
    return {} if version is None else _read_json_version(path, version)


@lru_cache(maxsize=20_000)
def _read_json_version(path: Path, version: FileVersion) -> dict[str, Any]:
    return read_json(path)
