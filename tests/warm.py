"""A Python command that starts at once: its processes are forks of one that has loaded torch and the models.

`python -m tests.warm SOCKET PADDING` is that process. A copy of this file next to the socket, written by `install`, is
the command: with `-m MODULE ARGUMENTS` it passes signals to its fork and ends as the fork does; otherwise it is Python.
The fork has the folder, the environment, the open files and the command line of the command.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR2}
"""Signals that the command passes to its fork."""
PADDING = "." * 4000
"""An argument of the process that is forked: space in which a fork writes its own command line."""


@contextmanager
def install(home: Path) -> Iterator[str]:
    """Write the command to a folder and yield its path; its processes can be started until the end."""
    command = home / "python"
    command.write_text(f"#!{sys.executable} -SE\n{Path(__file__).read_text()}")
    command.chmod(0o755)
    arguments = ["-m", "tests.warm", str(home / "socket"), PADDING]
    server = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield str(command)
        server.stdin.close()


def run_command() -> int:
    """Have a fork execute the command line of this process; return its exit status."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(str(Path(__file__).with_name("socket")))
        order = json.dumps({"argv": sys.argv, "cwd": os.getcwd(), "environment": dict(os.environ)}).encode()
        socket.send_fds(server, [len(order).to_bytes(8, "big")], [0, 1, 2])
        server.sendall(order)
        answers = server.makefile("rb")
        pid = int(answers.readline())

        def pass_on(number: int, _: object) -> None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, pass_on)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        status = int(answers.readline())
    if status < 0:
        if -status in SIGNALS:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def serve(path: str) -> None:
    """Fork a process for each command, until standard input ends."""
    from cleaner.jobs.worker import load_libraries

    load_libraries()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(100)
        print("ready", flush=True)
        while listener in select.select([sys.stdin, listener], [], [])[0]:
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                attend(client)
                os._exit(0)
            client.close()


def attend(client: socket.socket) -> None:
    """Fork the process of a command; tell the command its pid and in the end its exit status."""
    size, files, *_ = socket.recv_fds(client, 8, 3)
    order = json.loads(client.makefile("rb").read(int.from_bytes(size, "big")))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        client.close()
        become(order, files)
    for file in (0, 1, *files):
        os.close(file)
    client.sendall(f"{pid}\n".encode())
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(OSError):  # the command was killed
        client.sendall(f"{status}\n".encode())


def become(order: dict[str, Any], files: list[int]) -> None:
    """Execute a command in this process, and end it."""
    import runpy
    import traceback

    os.setsid()
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    sys.stdout.reconfigure(write_through=True)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    show_arguments(order["argv"])
    sys.executable, *arguments = order["argv"]
    sys.argv = arguments[arguments.index("-m") + 1 :]
    sys.path.insert(0, os.getcwd())
    status: Any = 0
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(bool(status)) if not isinstance(status, int) else status)


def show_arguments(argv: list[str]) -> None:
    """Replace the command line of this process, by which others identify it: the kernel reads it from its memory."""
    import ctypes

    start, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])  # proc(5)
    first, *others = map(os.fsencode, argv)
    rest = b"".join(b"\0" + argument for argument in others) + b"\0"
    text = first.ljust(end - start - len(rest)) + rest
    assert len(text) == end - start
    ctypes.memmove(start, text, len(text))


if __name__ == "__main__":
    if sys.argv[2:] == [PADDING]:
        serve(sys.argv[1])
    elif "-m" not in sys.argv:
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
    else:
        sys.exit(run_command())
