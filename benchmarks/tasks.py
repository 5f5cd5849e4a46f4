"""Tasks that several processes share: each is done once, and its result is a line of a JSON-lines file."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from benchmarks.json_lines import read_json_lines
from benchmarks.markdown.cells import Row

Select = Callable[[list[Row]], list[Row]]
"""Which of the finished tasks count."""
Needless = Callable[[list[Row]], Set[str]]
"""The tasks that the finished ones make needless."""
WAIT_SECONDS = 20.0
"""Time between looks at whether other processes have finished a phase."""


@dataclass(frozen=True)
class TaskFile:
    """The finished tasks of a benchmark, in phases."""

    path: Path

    def run_phase(
        self,
        phase: str,
        tasks: Mapping[str, Callable[[], Row]],
        select: Select = list,
        needless: Needless = lambda _: set(),
    ) -> None:
        """Run the missing tasks that no other process runs; return when all are done, by whichever process."""

        def find_missing() -> list[str]:
            rows = select(self.rows(phase))
            done = {row["key"] for row in rows} | needless(rows)
            return [key for key in tasks if key not in done]

        while missing := find_missing():
            for key in missing:
                with claimed(self.path, f"{phase} {key}") as is_mine:
                    if is_mine and key in find_missing():
                        append_row(self.path, {"phase": phase, "key": key, **tasks[key]()})
            if set(missing) & set(find_missing()):
                time.sleep(WAIT_SECONDS)

    def rows(self, phase: str) -> list[Row]:
        """Return the results of a phase, in the order they were finished; a line cut off by a crash is skipped."""
        return [row for row in read_json_lines(self.path) if row.get("phase") == phase]

    def keys(self, phase: str) -> set[str]:
        """Return the keys of the finished tasks of a phase."""
        return {row["key"] for row in self.rows(phase)}


def append_row(path: Path, row: Row) -> None:
    """Add one line: a single write under a lock, on a line of its own even after a cut-off one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock_path(path, "append")), path.open("a+b", buffering=0) as file:
        file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
        is_cut_off = file.read(1) not in (b"", b"\n")
        file.write(b"\n" * is_cut_off + json.dumps(row).encode() + b"\n")
        os.fsync(file.fileno())


@contextmanager
def claimed(path: Path, name: str) -> Iterator[bool]:
    """Yield whether this process has the piece of work `name` of a file to itself.

    The operating system releases the claim of a process that is killed.
    """
    lock = FileLock(lock_path(path, name))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def lock_path(path: Path, name: str) -> Path:
    """Return the lock file of the piece of work `name` of a file or folder, the same for all processes here."""
    digest = sha256(f"{path.resolve()} {name}".encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / "ta-cleaner-benchmarks"
    folder.mkdir(exist_ok=True)
    return folder / f"{digest}.lock"
