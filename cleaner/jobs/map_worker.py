"""Compute the embedding map of a run in a process of its own: `python -m cleaner.jobs.map_worker RUN_DIR`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cleaner.inspection import embedding_map
from cleaner.jobs import locks, process
from cleaner.runs.derived import derived_folder
from cleaner.runs.store import last_lines

MAP_LOG = "embeddings.log"


def start_map_process(folder: Path, parent: Path | None = None) -> subprocess.Popen[bytes]:
    """Compute a run's map in a process of its own: in a thread, UMAP would block a page for half a minute."""
    output = derived_folder(folder)
    output.mkdir(parents=True, exist_ok=True)
    runs = [str(path.resolve()) for path in (folder, parent) if path is not None]
    return process.start_detached(__name__, *runs, log=output / MAP_LOG, append=False)


def read_last_log_line(folder: Path) -> str:
    """Return the last line of the map process's log: the reason if it failed."""
    return last_lines(derived_folder(folder) / MAP_LOG)


def main(arguments: Sequence[str]) -> None:
    """Compute a run's map unless it exists; a second process waits and finds the first one's result."""
    folder, parent = Path(arguments[0]), Path(arguments[1]) if len(arguments) > 1 else None
    while True:
        with locks.try_lock(derived_folder(folder)) as is_locked:
            if is_locked:
                embedding_map.ensure_map(folder, parent)
                return
        time.sleep(locks.POLL_SECONDS)


if __name__ == "__main__":
    process.lower_priority()  # a training may be running
    main(sys.argv[1:])
