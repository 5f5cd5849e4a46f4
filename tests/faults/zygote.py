"""Forks servers and workers with all libraries loaded, to kill hundreds: python -m tests.faults.zygote TOKEN

Reads orders from standard input, one JSON object a line, and answers with the pid of the new process. A server starts
a run as a page does, with `jobs.local.start`, and then polls all runs as a page does; the worker that it starts is the
real one, in a forked process. Its status names TOKEN, which is in the command line of every fork,
as for a worker that waited as a spare.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cleaner.jobs import local, worker
from cleaner.jobs.spare_worker import load_libraries
from cleaner.types import CleanerError

POLL_SECONDS = 0.1


def fork(action: Callable[[], object]) -> int:
    """Run `action` in a new process; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        action()
        status = 0
    finally:
        os._exit(status)


def serve(folder: Path, token: str, max_bytes: int) -> None:
    """Start a run and poll all runs until killed; `max_bytes` limits the size of each file, as a full disk does."""

    def launch(folder: Path) -> None:
        fork(lambda: work(folder, token, max_bytes))

    local.launch = launch  # type: ignore[assignment]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with suppress(CleanerError):  # it is still running, or done
        local.start(folder)
    while True:
        local.poll_entries(folder.parent)
        time.sleep(POLL_SECONDS)


def work(folder: Path, token: str, max_bytes: int) -> None:
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if max_bytes:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
    worker.run_folder(folder, token)


def main(token: str) -> None:
    load_libraries()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(fork(lambda order=order: serve(Path(order["folder"]), token, order["max_bytes"])), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
