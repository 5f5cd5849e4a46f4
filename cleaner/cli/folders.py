"""Output folders and files of a command, checked before any work starts."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from cleaner.files import create_free_folder, has_config, write_error
from cleaner.jobs import locks
from cleaner.runs.folders import runs_root
from cleaner.types import CleanerError

MAX_NAME_LENGTH = 60
"""Characters of a run folder's name: file systems allow 255 bytes, and a character takes up to four."""


@contextmanager
def reserve_run_folder(out: Path | None, name: str) -> Iterator[Path]:
    """Yield the folder of a new run: `out`, or a new folder called `name` among all runs.

    A new folder is created at once, so that no other process takes its name, and removed if it stays empty; `out` is
    locked. Raises `CleanerError` if `out` holds a run or model, is that of another command, or cannot be written.
    """
    if out is not None:
        with locks.try_output_lock(out) as is_free:
            if not is_free:
                raise CleanerError(f"another command is about to write {out}: wait for it, or choose another --out.")
            if has_config(out):
                raise CleanerError(f"{out} already holds a run or model and was not overwritten: choose another --out.")
            check_writable(out)
            yield out
        return
    check_writable(runs_root(), option="CLEANER_RUNS or an --out")
    stem = re.sub(r'[\\/:*?"<>|]', "-", name).lstrip(".-")[:MAX_NAME_LENGTH]  # lists skip names that start with a dot
    folder = create_free_folder(runs_root(), stem)
    try:
        yield folder
    finally:
        with suppress(OSError):  # fails if the folder holds the run
            folder.rmdir()


def resolve_output_file(out: Path) -> Path:
    """Return the file to write, links followed: writing replaces a file, which must not be the link.

    Raises `CleanerError` if it cannot be written.
    """
    path = Path(os.path.realpath(out))
    check_writable(path, "file")
    return path


def check_writable(out: Path, kind: Literal["folder", "file"] = "folder", option: str = "--out") -> None:
    """Raise `CleanerError` if `out`, the value of an option, cannot be written as a folder or file."""
    try:
        is_kind = stat.S_ISDIR if kind == "folder" else stat.S_ISREG  # a device would be replaced by the file
        if not is_kind(out.stat().st_mode):
            raise CleanerError(f"{out} is not a {kind}: choose another {option}.")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise write_error(out, error, f"Choose another {option}.") from error
    parent = next(path for path in (out, *out.absolute().parents) if path.is_dir())
    try:
        tempfile.TemporaryFile(dir=parent).close()  # os.access is true for root, whatever the disk
    except OSError as error:
        raise CleanerError(f"{parent} is not writable: choose another {option}.") from error
