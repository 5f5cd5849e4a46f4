"""Worker processes: start them detached, find them again, tell whether they are alive, kill them.

A pid alone may belong to another process by now. A process is trusted, and signaled, only if its start and its command
line are those of status.json: the time it started, and the token (the run folder for the first run of a worker).
"""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from cleaner.access import PASSWORD
from cleaner.files import cache_root, child_environment, read_json, write_json
from cleaner.runs.status import Status, parse_status
from cleaner.runs.store import last_lines

if sys.platform != "win32":
    import resource

HEARTBEAT_SECONDS = 10.0
"""A worker writes its status at least this often."""
HEARTBEAT_TIMEOUT_SECONDS = 12 * HEARTBEAT_SECONDS
"""Seconds without a heartbeat before a worker on another machine counts as dead."""
LOW_NICE = 10
"""Nice value of background work: low enough not to slow a training, high enough to finish."""
START_TIMEOUT_SECONDS = 60.0
"""Seconds a process may take from its start to its first status."""


def start_detached(
    module: str, *arguments: str, log: Path, append: bool = True, at_end: Callable[[int], object] = lambda _: None
) -> subprocess.Popen[bytes]:
    """Start `python -m MODULE ARGUMENTS` as a process that outlives this one; its output goes to `log`.

    The child starts in the current folder, so relative paths keep their meaning. at_end: called with its exit status if
    it ends before this process, which waits for it in a thread: a child that nobody waits for stays a zombie.
    """
    command = [sys.executable, "-u", "-m", module, *arguments]
    with log.open("ab" if append else "wb") as output:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(command, env=child_environment(), **streams, **_detach_options())
    wait = lambda: at_end(process.wait())  # noqa: E731
    threading.Thread(target=wait, name=f"wait-{process.pid}", daemon=True).start()
    return process


def redirect_output(log: Path) -> None:
    """Send the output of this process to the end of a file from now on."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for target in (1, 2):
        os.dup2(output, target)
    os.close(output)


def lower_priority() -> None:
    """Lower the priority of this process, so that a training gets about nine tenths of the processor."""
    low = getattr(psutil, "IDLE_PRIORITY_CLASS", LOW_NICE)  # a class of Windows; elsewhere a nice value
    with suppress(psutil.Error, OSError):
        psutil.Process().nice(low)
    # Linux with autogroups shares the processor between sessions first, by a nice value of their own.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(LOW_NICE), encoding="ascii")


def exported_environment() -> dict[str, str]:
    """Return the environment variables that a worker on another machine needs: where to import from, and CLEANER_*.

    Job scripts hold them as text, so the app's password stays out.
    """
    environment = child_environment()
    needed = ("PYTHONPATH", "PYTHONSAFEPATH")
    names = (name for name in environment if name in needed or name.startswith("CLEANER_"))
    return {name: environment[name] for name in names if name != PASSWORD}


def _detach_options() -> dict[str, Any]:
    """Return the `Popen` options that keep the server's Ctrl-C from the child."""
    if sys.platform == "win32":
        # Not DETACHED_PROCESS: python.exe of a virtual environment starts another process, which would open a window.
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def current_memory() -> float:
    """Return the bytes that this process has in memory now."""
    return float(psutil.Process().memory_info().rss)


def peak_memory() -> float:
    """Return the most bytes that this process has had in memory, on Linux since `reset_peak_memory`."""
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset)
    # On Linux ru_maxrss begins with the peak of the process that started this one.
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def reset_peak_memory() -> float:
    """Set the peak to the memory in use where the system can, which is Linux; return the peak from here on."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): resets VmHWM
    return peak_memory()


def torchrun_rank() -> int:
    """Return this process's rank among those that torchrun started; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def is_distributed() -> bool:
    """Return whether torchrun started several processes for this run."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_alive(folder: Path, status: Status) -> bool:
    """Return whether the process of an active run is alive or may still be starting, or one will take the run."""
    # Distances: a clock that was set back must not keep a dead run alive until it has caught up.
    if not status.pid and abs(time.time() - status.queued) < START_TIMEOUT_SECONDS:
        return True
    if not status.pid and status.host in ("", socket.gethostname()):
        return is_registered(status.token)
    if status.host != socket.gethostname():
        return abs(time.time() - status.updated) < HEARTBEAT_TIMEOUT_SECONDS
    return find_process(folder, status) is not None


def is_here(status: Status) -> bool:
    """Return whether a run is on this machine: others may share the store, or be a cluster."""
    return status.host in ("", socket.gethostname()) and not status.place


def find_process(folder: Path, status: Status) -> psutil.Process | None:
    """Return the run's process on this machine; None if it is gone or its pid belongs to another process."""
    try:
        process = psutil.Process(status.pid)
        with process.oneshot():
            if not _has_started(process, status) or process.status() == psutil.STATUS_ZOMBIE:
                return None
            if status.token:
                return process if status.token in process.cmdline() else None
            cwd = process.cwd()
            arguments = (os.path.realpath(os.path.join(cwd, argument)) for argument in process.cmdline())
            return process if os.path.realpath(folder) in arguments else None
    except (psutil.Error, OSError, ValueError):
        return None


def _has_started(process: psutil.Process, status: Status) -> bool:
    """Return whether a process started when the worker in a status did."""
    if status.start_ticks:
        return read_start_ticks(process.pid) == status.start_ticks
    return abs(process.create_time() - status.started) <= 1


def read_start_ticks(pid: int) -> int:
    """Return the clock ticks from the boot to the start of a process on Linux; 0 elsewhere, or if it is gone.

    The wall-clock time of a start, as psutil computes it on Linux, moves with every step of the clock: after one, all
    living workers would seem to be other processes.
    """
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])  # proc(5): starttime
    except (OSError, IndexError, ValueError):
        return 0


def own_identity(token: str, pid: int = 0) -> dict[str, Any]:
    """Return the fields of status.json by which `find_process` finds this process, or that of a pid.

    token: one of its arguments.
    """
    pid = pid or os.getpid()
    started = psutil.Process(pid).create_time()
    return {"pid": pid, "started": started, "start_ticks": read_start_ticks(pid), "token": token}


def registration(token: str) -> Path:
    """Return the file that says which process has this token on its command line."""
    return cache_root() / "queues" / f"worker-{token}.json"


def register(token: str, pid: int) -> None:
    """Write which process has a token. Raises `CleanerError` if the cache cannot be written."""
    with suppress(psutil.NoSuchProcess):
        write_json(registration(token), own_identity(token, pid))


def unregister(token: str) -> None:
    """Remove the registration of this process; that of another one stays."""
    if read_json(registration(token)).get("pid") == os.getpid():
        registration(token).unlink(missing_ok=True)


def is_registered(token: str, pid: int | None = None) -> bool:
    """Return whether a living process of this machine, the one with this pid if given, is registered for a token."""
    if not re.fullmatch(r"[0-9a-f]{32}", token):  # the status of a run may come from elsewhere
        return False
    worker = parse_status(read_json(registration(token)))
    return pid in (None, worker.pid) and worker.token == token and find_process(Path(), worker) is not None


def watch(pid: int) -> Callable[[], bool]:
    """Return a function that tells whether the process that has this pid now is still running."""
    try:
        return psutil.Process(pid).is_running
    except psutil.NoSuchProcess:
        return lambda: False


def kill(process: psutil.Process) -> None:
    """Kill a process and its descendants, without those that it detached."""
    kill_children(process)
    with suppress(psutil.Error):
        process.kill()


def kill_children(process: psutil.Process | None = None) -> None:
    """Kill the descendants of a process, by default this one, without those that it detached into other sessions."""
    process = process or psutil.Process()
    session = _read_session(process.pid)
    for child in process.children(recursive=True):
        if _read_session(child.pid) == session:
            with suppress(psutil.Error):
                child.kill()


def _read_session(pid: int) -> int | None:
    with suppress(OSError, AttributeError):  # Windows has no sessions: there all descendants are killed
        return os.getsid(pid)
    return None


def quote_log_end(log: Path, count: int = 1) -> str:
    """Return " Its log ends: ..." with the last lines of a log, to end a message; empty if the log is empty."""
    lines = last_lines(log, count)
    return f" Its log ends: {lines}" if lines else ""
