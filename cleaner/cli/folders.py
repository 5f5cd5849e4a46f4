"""Places for what a command writes, checked before any work is done."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Literal

from cleaner.files import REMEDY
from cleaner.runs.store import is_run_folder, runs_root
from cleaner.types import CleanerError

MAX_NAME_LENGTH = 60
"""Characters of what a run folder is called after: a file system takes 255 bytes, a letter has up to four."""


@contextmanager
def reserve_run_folder(out: Path | None, name: str) -> Iterator[Path]:
    """Yield the folder for a new run, checked before any work is done; one that was not asked for is kept free.

    Nobody else gets its name meanwhile, and nothing is left of it where no run comes. Raises `CleanerError` if it holds
    a run, or cannot hold one.
    """
    if out is not None:
        if is_run_folder(out):
            raise CleanerError(f"{out} already holds a run: choose another --out, nothing was overwritten.")
        check_writable(out)
        yield out
        return
    check_writable(runs_root())
    stem = name.replace("/", "-").lstrip(".-")[:MAX_NAME_LENGTH]  # with a dot before it, no list would show it
    for number in count(1):
        folder = runs_root() / f"{stem}_{number}"
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise CleanerError(f"{folder} cannot be made ({error.strerror}). {REMEDY}") from error
    try:
        yield folder
    finally:
        with suppress(OSError):  # it holds the run
            folder.rmdir()


def check_writable(out: Path, kind: Literal["folder", "file"] = "folder") -> None:
    """Raise `CleanerError`, before any work is done, if no folder or file of that name can be written."""
    try:
        if stat.S_ISDIR(out.stat().st_mode) != (kind == "folder"):
            raise CleanerError(f"{out} is no {kind}: choose another --out.")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise CleanerError(f"{out} cannot be written ({error.strerror}): choose another --out.") from error
    place = next(path for path in (out, *out.absolute().parents) if path.is_dir())
    if not os.access(place, os.W_OK):
        raise CleanerError(f"nothing can be written in {place}: choose another --out.")
