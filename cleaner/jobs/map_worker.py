"""Compute the embedding map of a run in a process of its own: `python -m cleaner.jobs.map_worker RUN_DIR`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cleaner.files import source_root
from cleaner.inspection import embedding_map
from cleaner.jobs import local
from cleaner.runs.derived import derived_folder

MAP_LOG = "embeddings.log"


def start_map_process(folder: Path, parent: Path | None = None) -> subprocess.Popen[bytes]:
    """Begin to make a run's map in a process of its own: UMAP holds up a page for half a minute otherwise."""
    place = derived_folder(folder)
    place.mkdir(parents=True, exist_ok=True)
    named = [str(path.resolve()) for path in (folder, parent) if path is not None]
    with (place / MAP_LOG).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, *named],
            cwd=source_root(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def read_last_log_line(folder: Path) -> str:
    """Return the last line that a process of `start_map_process` wrote: why it failed, if it did."""
    try:
        lines = (derived_folder(folder) / MAP_LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][:300] if lines else ""


def main(arguments: Sequence[str]) -> None:
    """Make a run's map unless it is there; one process at a time, so that a second one finds what the first made."""
    folder, parent = Path(arguments[0]), Path(arguments[1]) if len(arguments) > 1 else None
    while True:
        with local.try_lock(derived_folder(folder)) as free:
            if free:
                embedding_map.ensure_map(folder, parent)
                return
        time.sleep(local.POLL_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1:])
