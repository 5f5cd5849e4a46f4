"""A server that starts a run and then polls all runs, as a page does: python -m tests.faults.server FOLDER MAX_BYTES

The worker that it starts is the real one, in a forked process, whose status names FOLDER, which is in the command line
of both. MAX_BYTES limits the size of each file that the worker writes, as a full disk does; 0: no limit.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from cleaner.jobs import local, worker
from cleaner.types import CleanerError

POLL_SECONDS = 0.1


def serve(folder: Path, max_bytes: int) -> None:
    """Start a run and poll all runs until killed."""

    def launch(folder: Path) -> None:
        if os.fork():
            return
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            work(folder, max_bytes)
        finally:
            os._exit(0)

    local.launch = launch
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    print(os.getpid(), flush=True)
    with suppress(CleanerError):  # it is still running, or done
        local.start(folder)
    while True:
        local.poll_entries(folder.parent)
        time.sleep(POLL_SECONDS)


def work(folder: Path, max_bytes: int) -> None:
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if max_bytes:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
    worker.run_folder(folder, str(folder))


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
