"""Limits of one hostile input: no write outside its folder, no socket, no program, no code in a pickle, 2 GB, 30 s."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

MAX_BYTES = 2 * 2**30
"""Memory that a case may add."""
MAX_SECONDS = 30.0
FORBIDDEN = ("socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system")
FORBIDDEN += ("os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pickle.find_class", "urllib.Request")
"""Audit events that no input may cause. torch reads weights without `pickle`, so that event means code in a file."""
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
CHANGES += ("os.chown", "os.utime", "os.mkfifo", "os.mknod", "shutil.rmtree", "shutil.move", "shutil.copyfile")
"""Audit events that change files; their text arguments are paths."""
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC


class TooSlow(BaseException):
    """A case ran longer than `MAX_SECONDS`. No `except Exception` of the tested code may swallow it."""


class Forbidden(BaseException):
    """A case did what no input may cause."""


@dataclass
class Watch:
    """What the audit hook watches: writes outside `folder`, and `FORBIDDEN` events."""

    folder: str
    violations: list[str] = field(default_factory=list)

    def check(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Raise `Forbidden`, and note it, if an event breaks a rule."""
        paths: list[object] = []
        if event == "open":
            path, mode, flags = arguments
            is_write = bool(flags & WRITE_FLAGS) if isinstance(flags, int) else bool(set(str(mode)) & set("wax+"))
            paths = [path] if is_write else []
        elif event in CHANGES:
            paths = [argument for argument in arguments if isinstance(argument, (str, bytes, os.PathLike))]
            if event in ("os.remove", "os.rmdir") and arguments[1] != -1:  # shutil.rmtree names files in an open folder
                paths = [os.path.join(os.readlink(f"/proc/self/fd/{arguments[1]}"), arguments[0])]
        outside = [path for path in paths if not isinstance(path, int) and not self._is_inside(path)]
        if event in FORBIDDEN or outside:
            self.violations.append(f"{event} {outside or arguments!r}")
            raise Forbidden(self.violations[-1])

    def _is_inside(self, path: Any) -> bool:
        text = os.path.realpath(os.fsdecode(path))
        return text == os.devnull or text.startswith(self.folder + os.sep)


_watch: Watch | None = None
_is_hooked = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watch is not None and (event == "open" or event in FORBIDDEN or event in CHANGES):
        _watch.check(event, arguments)


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Run a block under the limits; raises if it breaks one. Nothing around `folder` may change."""
    global _watch, _is_hooked
    if not _is_hooked:
        sys.addaudithook(_audit)  # cannot be removed; idle while there is nothing to watch
        _is_hooked = True
    before = snapshot(folder)
    watch = Watch(os.path.realpath(folder))
    with _limit_memory(), _limit_time():
        _watch = watch
        try:
            yield
        finally:
            _watch = None
    assert not watch.violations
    assert snapshot(folder) == before, f"files around {folder} changed"


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return type, size and time of every file around `folder`: in its parent, the folder itself excepted."""
    found: dict[str, tuple[int, int, int]] = {}
    places = [folder.parent]
    while places:
        for entry in os.scandir(places.pop()):
            if entry.path == str(folder):
                continue
            info = entry.stat(follow_symlinks=False)
            is_folder = entry.is_dir(follow_symlinks=False)
            found[entry.path] = (info.st_mode, 0 if is_folder else info.st_size, info.st_mtime_ns)
            if is_folder:
                places.append(Path(entry.path))
    return found


@contextmanager
def _limit_memory() -> Iterator[None]:
    """Limit the address space to what the process has now and `MAX_BYTES`; only Linux enforces it."""
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MAX_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def _limit_time() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"more than {MAX_SECONDS:.0f} s")

    def start(*_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)

    # A process that was stopped and goes on (SIGCONT) starts to count again.
    handlers = {signal.SIGALRM: stop, signal.SIGCONT: start}
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    start()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in previous.items():
            signal.signal(number, handler)
