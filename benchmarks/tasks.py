"""Tasks that several processes share: each is done once, and its result is a line of a JSON-lines file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from benchmarks.markdown.cells import Row
from cleaner.files import read_json_lines

Task = Callable[[], Row]
Select = Callable[[list[Row]], list[Row]]
"""Which of the finished tasks count."""
WAIT_SECONDS = 20.0
"""Time between looks at whether other processes have finished a phase."""


@dataclass(frozen=True)
class TaskFile:
    """The finished tasks of a benchmark, in phases; `locks` is a folder that all processes of this machine share."""

    path: Path
    locks: Path

    def lock(self, name: str) -> FileLock:
        """Return the lock of a name; the system frees it when its process ends."""
        self.locks.mkdir(parents=True, exist_ok=True)
        return FileLock(self.locks / f"{name.replace('%', '').replace(' ', '_')}.lock")

    def run_phase(self, phase: str, tasks: Mapping[str, Task], select: Select = list) -> None:
        """Run the missing tasks that no other process runs; return when all are done, by whichever process."""
        while missing := [key for key in tasks if key not in self.keys(phase, select)]:
            for key in missing:
                self._run_if_free(phase, key, tasks[key], select)
            if any(key not in self.keys(phase, select) for key in missing):
                time.sleep(WAIT_SECONDS)

    def _run_if_free(self, phase: str, key: str, task: Task, select: Select) -> None:
        try:
            with self.lock(f"{phase} {key}").acquire(timeout=0):
                if key not in self.keys(phase, select):
                    self._append({"phase": phase, "key": key, **task()})
        except Timeout:
            return

    def rows(self, phase: str) -> list[Row]:
        """Return the results of a phase, in the order they were finished; a line cut off by a crash is skipped."""
        return [row for row in read_json_lines(self.path) if row.get("phase") == phase]

    def keys(self, phase: str, select: Select = list) -> set[str]:
        """Return the keys of the finished tasks of a phase."""
        return {row["key"] for row in select(self.rows(phase))}

    def _append(self, row: Row) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.lock("lines"):
            cut_off = self.path.exists() and self.path.read_bytes()[-1:] not in (b"", b"\n")
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n" * cut_off + json.dumps(row) + "\n")
