"""Compute the embedding map of a run: `python -m cleaner.jobs.map_worker [--background] RUN_DIR`."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cleaner.files import cache_root, has_config, write_error
from cleaner.inspection import embedding_map
from cleaner.jobs import local, locks, process
from cleaner.runs.derived import derived_folder, unique_name
from cleaner.runs.store import last_lines

BACKGROUND_OPTION = "--background"
"""Option of this command: start only after no run has been active for `REST_SECONDS`, one such process at a time."""
REST_SECONDS = 30.0
"""Users often start a defense right after the poisoning, and a map drawn meanwhile slows the training down."""


def start_map_process(folder: Path, *, in_background: bool = False) -> subprocess.Popen[bytes]:
    """Compute a run's map in a process of its own: in a thread, UMAP would block a page.

    in_background: after no run of the store has been active for `REST_SECONDS`, one such process at a time.
    """
    log = _locate_log(folder)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(log.parent, error, "Set CLEANER_CACHE to a writable folder.") from error
    options = [BACKGROUND_OPTION] if in_background else []
    return process.start_detached(__name__, *options, str(folder.resolve()), log=log, append=False)


def _locate_log(folder: Path) -> Path:
    # Not in the run folder: Windows deletes no folder with an open file, and the process may wait for long.
    return cache_root() / "logs" / f"{unique_name(folder)}-embeddings.log"


def read_last_log_line(folder: Path) -> str:
    """Return the last line of the map process's log: the reason if it failed."""
    return last_lines(_locate_log(folder))


def draw_map(folder: Path) -> None:
    """Compute a run's map unless it exists; a second process waits and finds the first one's result."""
    if not has_config(folder):  # deleted while this process waited
        return
    with locks.try_lock(derived_folder(folder), seconds=-1):
        embedding_map.ensure_map(folder)


def wait_for_rest(root: Path, seconds: float = REST_SECONDS) -> None:
    """Wait until no run of a store has been active for some seconds."""
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < seconds:
        time.sleep(min(1.0, seconds))
        if local.has_active_runs(root):
            quiet_since = time.monotonic()


def draw_in_background(folder: Path) -> None:
    """Compute a run's map while no run is active and no other process computes a map here in the background."""
    while True:
        wait_for_rest(folder.parent)
        with locks.try_lock(folder.parent) as is_locked:
            if is_locked:
                draw_map(folder)
                return


def main(arguments: Sequence[str]) -> None:
    """Compute the map of RUN_DIR."""
    draw = draw_in_background if arguments[0] == BACKGROUND_OPTION else draw_map
    draw(Path(arguments[-1]))


if __name__ == "__main__":
    process.lower_priority()  # a training may be running
    main(sys.argv[1:])
