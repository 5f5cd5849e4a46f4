"""Output folders and files of a command, checked before any work starts."""

import os
import re
import signal
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from cleaner.command_line import cleaner_command
from cleaner.files import create_free_folder, has_config, write_error
from cleaner.jobs import local, locks
from cleaner.runs.folders import is_run_folder, runs_root
from cleaner.runs.prepared import prepared_trigger_file
from cleaner.runs.status import STARTABLE, STATUS_FILE
from cleaner.runs.store import CHECKPOINT_FILE
from cleaner.types import CleanerError

RUN_FILES = (
    STATUS_FILE,
    "metrics.json",
    "model.safetensors",
    CHECKPOINT_FILE,
    prepared_trigger_file(Path(CHECKPOINT_FILE)).name,
    local.CANCEL,
    local.PAUSE,
)
"""Files that a run would overwrite, delete or obey."""
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
            _refuse_used(out)
            check_writable(out)
            yield out
        return
    check_writable(runs_root(), option="CLEANER_RUNS or an --out")
    stem = re.sub(r'[\\/:*?"<>|]', "-", name).lstrip(".-")[:MAX_NAME_LENGTH]  # lists skip names that start with a dot
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # by default it removes nothing
    folder = create_free_folder(runs_root(), stem)
    try:
        yield folder
    finally:
        with suppress(OSError):  # fails if the folder holds the run
            folder.rmdir()
        signal.signal(signal.SIGTERM, before)


def _refuse_used(out: Path) -> None:
    """Raise `CleanerError` if a folder holds a run, a model or a file that looks like one of a run."""
    if has_config(out):
        command = cleaner_command("runs", "--resume", str(out))
        is_stopped = is_run_folder(out) and local.poll_status(out).state in STARTABLE
        remedy = f"resume its run with {command}, or choose" if is_stopped else "choose"
        raise CleanerError(f"{out} already holds a run or model and was not overwritten: {remedy} another --out.")
    if found := next((name for name in RUN_FILES if os.path.exists(out / name)), None):
        raise CleanerError(f"{out} already holds a file {found}, as a run does: choose another --out.")


def resolve_output_file(out: Path, suffixes: Sequence[str]) -> Path:
    """Return the file to write, links followed, if it can be written and has one of the suffixes."""
    path = Path(os.path.realpath(out))
    check_writable(path, "file")
    if out.suffix.lower() not in suffixes:
        known, remedy = " or ".join(suffixes), out.with_suffix(suffixes[0])
        raise CleanerError(f"--out takes a file name that ends in {known}, not {out}: write {remedy}.")
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
