"""Waiting for other processes and for runs in them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from cleaner.jobs import local, slurm_queue
from cleaner.runs.run import read_progress
from cleaner.runs.status import Status
from cleaner.runs.store import LOG_FILE

MAX_CANCEL_SECONDS = local.SLURM_KILL_TIMEOUT_SECONDS / 2
"""Most seconds until a canceled run is gone: more than the timeout takes on a busy machine, less than the next one."""


def wait_until(condition: Callable[[], object], timeout: float = 300) -> None:
    """Wait until `condition` is true; fail after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def wait_until_ended(*pids: int) -> None:
    """Wait until processes are gone, or zombies because nobody has asked for their exit status."""
    wait_until(lambda: all(_has_ended(pid) for pid in pids))


def _has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextmanager
def sleeping_process(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that sleeps, with `arguments` on its command line; it is killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *arguments], **options)
    try:
        wait_until(psutil.Process(process.pid).cmdline)  # Linux fills it in after exec
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until_state(folder: Path, *states: str) -> Status:
    """Wait until a run is in one of `states`; fail if it ends in another."""
    wait_until(lambda: local.poll_status(folder).state in (*states, "failed", "died", "cancelled"))
    status = local.poll_status(folder)
    log = folder / LOG_FILE
    log_text = log.read_text() if log.exists() else ""
    assert status.state in states, (status, log_text, slurm_queue.quote_error_log_end(folder))
    return status


def wait_until_step(folder: Path, step: int, stage: str = "poison") -> None:
    """Wait until a run has logged a training step of at least `step`."""
    wait_until(lambda: any(r["stage"] == stage and r["step"] >= step for r in read_progress(folder)))
