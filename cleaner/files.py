"""Files and folders: atomic writes, lenient JSON reads, and the locations of cache, assets and source."""

import hashlib
import json
import math
import os
import re
import shutil
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache, wraps
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

import platformdirs

from cleaner.types import CleanerError

REMEDY = "Free disk space there, or choose another folder: with --out, or for all runs with CLEANER_RUNS."
"""Advice for a run folder that cannot be written."""
CACHE_REMEDY = "Free disk space there, or set CLEANER_CACHE to another folder."
"""Advice for files that can be recreated."""
LIBRARY_VARIABLES = {
    "KMP_DUPLICATE_LIB_OK",
    "KMP_INIT_AT_FORK",
    "NUMBA_CACHE_DIR",
    "TOKENIZERS_PARALLELISM",
    "TORCHINDUCTOR_CACHE_DIR",
} - os.environ.keys()
"""Environment variables that libraries set as they load, except those that the user had set before.

Children start without them: a worker takes over runs only from a process with the same environment.
"""
MAX_JSON_BYTES, MAX_IMAGE_BYTES = 100_000_000, 64_000_000
MAX_PATCH_SIDE = 1024
"""Pixels of the longer side of an image that a JSON file holds, such as the patch of a trigger."""
MAX_INTEGER_DIGITS = 18
"""Digits of the largest whole number that is read from JSON: it fits 64 bits."""
IN_USE_SECONDS = 1.0 if os.name == "nt" else 0.0
"""Seconds for which a refused access to a file is repeated: Windows refuses it while another program has it open."""
IN_USE_POLL_SECONDS = 0.1
P = TypeVar("P")
T = TypeVar("T")
V = TypeVar("V")


def write_error(path: Path, error: OSError, remedy: str = "") -> CleanerError:
    """Return the error for a path that cannot be written: the reason, then what to do; default: by its folder."""
    if not remedy:
        is_cached = path.absolute().is_relative_to(cache_root().absolute())
        remedy = CACHE_REMEDY if is_cached else REMEDY
    return CleanerError(f"{path} cannot be written ({error.strerror or error}). {remedy}")


def cache_root() -> Path:
    """Return the folder for files that can be recreated: CLEANER_CACHE, else the user's cache folder."""
    return Path(os.environ.get("CLEANER_CACHE") or platformdirs.user_cache_dir("ta-cleaner-lab"))


def runs_root() -> Path:
    """Return the folder of all runs: the environment variable CLEANER_RUNS, else in the user's data folder."""
    return Path(os.environ.get("CLEANER_RUNS") or Path(platformdirs.user_data_dir("ta-cleaner-lab")) / "runs")


def is_run_folder(folder: str | Path) -> bool:
    """Return whether a folder holds a run, finished or not; models of the Hub have a config.json, too."""
    if not has_config(folder):
        return False
    config = read_json(Path(folder) / "config.json")
    return not config or "stage" in config


def has_config(folder: str | Path) -> bool:
    """Return whether a folder holds a run or a model of the hub, which nothing may overwrite."""
    return os.path.exists(os.path.join(folder, "config.json"))  # unlike pathlib's, it accepts a name that is too long


def source_root() -> Path:
    """Return the folder that holds the package: the repository's root, or site-packages."""
    return Path(__file__).resolve().parent.parent


def read_git_commit() -> str:
    """Return the commit of this checkout, with "+" for uncommitted changes; "unknown" outside a checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(source_root()), *arguments], capture_output=True, text=True, check=True
        ).stdout

    if not (source_root() / ".git").exists():  # an installed package; a repository around it is another project's
        return "unknown"
    try:
        changed = git(
            "status", "--porcelain", "--untracked-files=no", "--", "cleaner", "assets", "benchmarks/*.py"
        ).strip()
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@cache
def read_code_version() -> str:
    """Return the commit of this checkout, else the version of the installed package, as of the first call."""
    commit = read_git_commit()
    with suppress(PackageNotFoundError):  # a download without git that is not installed
        return version("ta-cleaner-lab") if commit == "unknown" else commit
    return commit


def child_environment() -> dict[str, str]:
    """Return this process's environment with the library on the PYTHONPATH, and without `LIBRARY_VARIABLES`.

    PYTHONSAFEPATH: `python -m` would first look in the working directory, whose files may be named like a module.
    """
    own = str(source_root())
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", own)]
    inherited = {name: value for name, value in os.environ.items() if name not in LIBRARY_VARIABLES}
    return {**inherited, "PYTHONPATH": os.pathsep.join([own, *others]), "PYTHONSAFEPATH": "1"}


def shipped_assets() -> Path:
    """Return the folder of the shipped models, example run, lexicon and SSBA encoder."""
    return _find_shipped("_assets", checkout="assets")


def app_file() -> Path:
    """Return the script of the Streamlit app; pages/ is in its folder."""
    return _find_shipped("_app/app.py", checkout="app.py")


def _find_shipped(packaged: str, *, checkout: str) -> Path:
    """Return a path inside the installed package, else in the checkout (pyproject.toml: package-dir maps them)."""
    path = Path(__file__).resolve().parent / packaged
    return path if path.exists() else source_root() / checkout


def assets() -> Path:
    """Return the folder of the built-in models and example runs: CLEANER_ASSETS, else the shipped one."""
    return Path(os.environ.get("CLEANER_ASSETS") or shipped_assets())


@contextmanager
def atomic_write(path: Path, remedy: str = "") -> Iterator[Path]:
    """Yield a temporary path that replaces `path` if the block succeeds and is deleted if it fails.

    A reader sees the old or the new content, never a part. Raises `write_error` if the disk is full or read-only.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        yield temporary
        _retry_in_use(lambda: os.replace(temporary, path))
    except OSError as error:
        raise write_error(path, error, remedy) from error
    finally:
        with suppress(OSError):  # the error of the write is the better message
            temporary.unlink(missing_ok=True)


def _retry_in_use(access: Callable[[], T]) -> T:
    """Access a file; on Windows repeat it while another program has the file open, as a page the files of a worker."""
    end = time.monotonic() + IN_USE_SECONDS
    while True:
        try:
            return access()
        except PermissionError:
            if time.monotonic() >= end:
                raise
        time.sleep(IN_USE_POLL_SECONDS)


def _remove_abandoned(path: Path) -> None:
    """Delete the temporary files that killed processes of this machine left next to `path`."""
    start = re.escape(f".{path.name}.{socket.gethostname()}-")
    for name in os.listdir(path.parent):
        # Exactly pid and thread: the files of a machine called node-2 start like those of one called node.
        own = re.fullmatch(rf"{start}([0-9]+)-[0-9]+\.tmp", name)
        if own is not None and not _is_alive(int(own[1])):
            with suppress(PermissionError):  # on Windows: a child of that process still uses it
                path.with_name(name).unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    import psutil  # here: it takes time, and few processes are killed while they write

    try:
        return psutil.pid_exists(pid)
    except OverflowError:
        return True


def resolve_path(name: str) -> str:
    """Return a path, or the path in "kind:path", as an absolute path if it exists; other names unchanged."""
    name = expand_home(name)
    prefix, _, rest = name.partition(":")
    if os.path.exists(name):  # pathlib raises for a name as long as a list of classes
        return str(Path(name).resolve())
    is_path = rest and prefix != "hf-hub"  # a download may be in a folder called like its repository
    return f"{prefix}:{Path(rest).resolve()}" if is_path and os.path.exists(rest) else name


def expand_home(name: str) -> str:
    """Return a path, or "kind:path", with the home folder for ~, which no shell expands after a colon."""
    kind, colon, path = name.partition(":")
    return f"{kind}:{os.path.expanduser(path)}" if colon else os.path.expanduser(name)


def file_name(path: str) -> str:
    """Return the last part of a path of this system or of Windows: a run may come from another machine."""
    is_from_windows = re.match(r"[A-Za-z]:[/\\]|\\\\", path)
    return (PureWindowsPath if is_from_windows else Path)(path).name


def create_free_folder(root: Path, stem: str) -> Path:
    """Create and return `root/stem`, or `stem-2`, `stem-3` ... if the name is taken, also by another process."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # FileExistsError too: a file or a broken link is in its place
        raise write_error(root, error) from error
    number = 1
    while True:
        folder = root / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
        except OSError as error:
            raise write_error(root, error) from error


def remove_tree(folder: Path) -> None:
    """Rename a folder, so that it disappears at once, and delete it with what interrupted deletions left."""
    renamed = folder.with_name(f".deleted-{folder.name}")
    for leftover in folder.parent.glob(".deleted-*"):
        shutil.rmtree(leftover, ignore_errors=True)  # another process may be deleting it
    _retry_in_use(lambda: os.replace(folder, renamed))
    shutil.rmtree(renamed, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically."""
    write_text(path, json.dumps(value, indent=1))


def read_limited(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a regular file of at most `max_bytes`: a device or pipe could block or never end."""
    if validate_regular(path).st_size > max_bytes:
        raise CleanerError(f"{path} is larger than {max_bytes // 1_000_000} MB: shrink it.")
    return _retry_in_use(path.read_bytes)


def validate_regular(path: str | Path) -> os.stat_result:
    """Return `os.stat` of a regular file. Raises `CleanerError` for a folder, device or pipe, `OSError` for none."""
    info = os.stat(path)  # not of a Path made here: of "" it would be the current folder
    if not stat.S_ISREG(info.st_mode):
        raise CleanerError(f"{path} is not a regular file: give the path of a file.")
    return info


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty if there is none. Numbers that are not finite are None."""
    try:
        return read_existing_json(path)
    except OSError:
        return {}


def read_existing_json(path: Path) -> dict[str, Any]:
    """Return what `read_json` does, but raise `OSError` if the file cannot be read, which no cache may remember."""
    try:
        value = parse_json(read_limited(path, MAX_JSON_BYTES))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def parse_json(text: str | bytes) -> Any:
    """Return a JSON value, with None for numbers that no float can hold; raises `ValueError` or `RecursionError`."""
    return json.loads(text, parse_constant=lambda _: None, parse_float=_parse_float, parse_int=_parse_int)


def _parse_float(digits: str) -> float | None:
    return value if math.isfinite(value := float(digits)) else None


def _parse_int(digits: str) -> int | None:
    # Larger numbers overflow where they become floats or C integers.
    return int(digits) if len(digits) <= MAX_INTEGER_DIGITS else None


MAX_KEPT_PATHS = 20_000
"""Number of files or run folders that each `keep_newest` cache holds."""
FileVersion = tuple[int, int, int]
"""Modification time in ns, size and inode: a file that was replaced has another inode."""


def file_version(path: str | Path) -> FileVersion | None:
    """Return what changes when a file is written or replaced; None if there is no such file."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def read_version(path: Path, read: Callable[[Path, FileVersion], T | None]) -> T | None:
    """Return what `read`, cached by version, makes of a file; None if it cannot be read now."""
    version = file_version(path)
    try:
        return None if version is None else read(path, version)
    except (OSError, MemoryError):
        return None


def keep_newest(read: Callable[[P, V], T]) -> Callable[[P, V], T]:
    """Cache `read(path, version)` for the newest version of each path alone; errors are not kept."""
    newest: dict[P, tuple[V, T]] = {}
    lock = threading.Lock()

    @wraps(read)
    def cached(path: P, version: V) -> T:
        known = newest.get(path)
        if known is None or known[0] != version:
            known = version, read(path, version)
            with lock:
                newest.pop(path, None)
                newest[path] = known  # the newest is last
                if len(newest) > MAX_KEPT_PATHS:
                    del newest[next(iter(newest))]
        return known[1]

    return cached


def file_sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file; cached until the file changes. Raises `OSError` if it cannot be read."""
    return _hash_version(path, file_version(path))


@lru_cache(maxsize=10_000)
def _hash_version(path: Path, version: FileVersion | None) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json_cached(path: Path) -> dict[str, Any]:
    """Return what `read_json` does, without opening a file that has not changed since. Do not change the dictionary."""
    return read_version(path, _read_json_version) or {}


@keep_newest
def _read_json_version(path: Path, version: FileVersion) -> dict[str, Any]:
    return read_existing_json(path)
