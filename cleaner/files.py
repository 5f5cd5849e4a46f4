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
    """Return the folder of the shipped models, example run, lexicon and SSBA encoder."""
    return _find_shipped("_assets", checkout="assets")


def shipped_results() -> Path:
    """Return the folder of the shipped result files: benchmarks/results in a checkout."""
    return _find_shipped("_results", checkout="benchmarks/results")


def app_file() -> Path:
    """Return the script of the Streamlit app; pages/ is in its folder."""
    return _find_shipped("_app/app.py", checkout="app.py")


def _find_shipped(packaged: str, *, checkout: str) -> Path:
    """Return a path inside the installed package, else in the checkout (pyproject.toml: package-dir maps them)."""
    path = Path(__file__).resolve().parent / packaged
    return path if path.exists() else source_root() / checkout


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


def read_json_cached(path: Path) -> dict[str, Any]:
    """Return what `read_json` does, for lists that are drawn again and again: an unchanged file is not opened.

    The dictionary is shared: do not change it. A file that was replaced has another inode.
    """
    try:
        known = path.stat()
    except OSError:
        return {}
    return _read_json_version(path, (known.st_mtime_ns, known.st_size, known.st_ino))


@lru_cache(maxsize=20_000)
def _read_json_version(path: Path, version: tuple[int, int, int]) -> dict[str, Any]:
    return read_json(path)
